"""Independent references in float64 NumPy, and small things to test with.

Nothing here imports a formula from the library: tables and sums are written out again, from the
papers, so that an error has to be made twice to go unseen. Arrays are channels-last.
"""

import dataclasses

import numpy as np

from jaxnst.networks import make_network
from jaxnst.networks.vgg import VGG
from jaxnst.recipes.schema import Content, Recipe, Scales, Solver, Style, TotalVariation

TINY = ((4, 4), (6,), (8, 8))
"""Blocks of a VGG with the structure of the real ones and almost no arithmetic."""

PAD_MODES = {"zero": "constant", "edge": "edge", "reflect": "reflect"}


# Networks.


def conv2d(x, kernel, bias, padding="zero"):
    """Sum over kernel taps of shifted pictures, ``(H, W, C) -> (H, W, D)``."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    kh, kw = kernel.shape[:2]
    h, w, _ = x.shape
    margins = ((kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0))
    padded = np.pad(x, margins, mode=PAD_MODES[padding])
    out = np.zeros((h, w, kernel.shape[3])) + np.asarray(bias, np.float64)
    for i in range(kh):
        for j in range(kw):
            out += np.einsum("hwc,cd->hwd", padded[i : i + h, j : j + w], kernel[i, j])
    return out


def pool2d(x, kind):
    """Reduce 2x2 squares one by one."""
    x = np.asarray(x, np.float64)
    reduce = {"max": np.max, "avg": np.mean, "avg-scaled": np.mean}[kind]
    factor = 1.35 if kind == "avg-scaled" else 1
    out = np.empty((x.shape[0] // 2, x.shape[1] // 2, x.shape[2]))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = factor * reduce(x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2], axis=(0, 1))
    return out


def vgg_features(x, parameters, padding="zero", exceptions=(), pooling="max"):
    """Compute every layer that the flat ``parameters`` reach; ``x`` is preprocessed."""
    found, block = {}, 1
    convolutions = [key.split("/")[0] for key in parameters if key.endswith("kernel")]
    for name in convolutions:
        b = int(name[4])
        if b > block:
            x = found[f"pool{block}"] = pool2d(x, pooling)
            block = b
        here = dict(exceptions).get(name, padding)
        x = conv2d(x, parameters[f"{name}/kernel"], parameters[f"{name}/bias"], here)
        found[name] = x
        x = found[name.replace("conv", "relu")] = np.maximum(x, 0)
    found[f"pool{block}"] = pool2d(x, pooling)
    return found


def sliding(x, side, margin, function):
    """Apply a function to every second square of a map with zeros around it."""
    x = np.pad(np.asarray(x, np.float64), [(margin, margin), (margin, margin), (0, 0)])
    rows, columns = ((n - side) // 2 + 1 for n in x.shape[:2])
    squares = [
        [function(x[2 * i : 2 * i + side, 2 * j : 2 * j + side]) for j in range(columns)]
        for i in range(rows)
    ]
    return np.array(squares)


def halving_conv2d(x, kernel, margin, bias=0.0):
    """Convolve at stride 2, square by square."""
    kernel = np.asarray(kernel, np.float64)
    return sliding(x, len(kernel), margin, lambda s: np.tensordot(s, kernel, 3)) + bias


def densenet_features(x, parameters, blocks, epsilon):
    """Every layer of a DenseNet, from the paper's figure 2 and table 1; ``x`` is preprocessed."""
    found = {}

    def norm(name, x):
        gamma, beta, mean, variance = (
            np.asarray(parameters[f"{name}/{part}"], np.float64)
            for part in ("gamma", "beta", "mean", "variance")
        )
        return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta

    def normalised(prefix, x):
        found[f"{prefix}bn"] = x = norm(f"{prefix}bn", x)
        found[f"{prefix}relu"] = x = np.maximum(x, 0)
        return x

    found["conv1_conv"] = x = halving_conv2d(x, parameters["conv1_conv/kernel"], 3)
    x = normalised("conv1_", x)
    found["pool1"] = x = sliding(x, 3, 1, lambda square: square.max((0, 1)))
    for b, depth in enumerate(blocks, 2):
        for i in range(1, depth + 1):
            name = f"conv{b}_block{i}"
            y = normalised(f"{name}_0_", x)
            found[f"{name}_1_conv"] = y = conv2d(y, parameters[f"{name}_1_conv/kernel"], 0.0)
            y = normalised(f"{name}_1_", y)
            found[f"{name}_2_conv"] = y = conv2d(y, parameters[f"{name}_2_conv/kernel"], 0.0)
            found[f"{name}_concat"] = x = np.concatenate([x, y], axis=-1)
        if b <= len(blocks):
            y = normalised(f"pool{b}_", x)
            found[f"pool{b}_conv"] = y = conv2d(y, parameters[f"pool{b}_conv/kernel"], 0.0)
            found[f"pool{b}_pool"] = x = pool2d(y, "avg")
    normalised("", x)
    return found


def squeezenet_features(x, parameters, fires, pooled):
    """Every layer of SqueezeNet 1.1, as its authors' prototxt lists them."""
    found = {}

    def largest(x):
        return sliding(x, 3, 0, lambda square: square.max((0, 1)))

    found["conv1"] = halving_conv2d(x, parameters["conv1/kernel"], 0, parameters["conv1/bias"])
    found["relu_conv1"] = x = np.maximum(found["conv1"], 0)
    found["pool1"] = x = largest(x)
    for i in fires:
        several = {}
        for part in ("squeeze1x1", "expand1x1", "expand3x3"):
            name = f"fire{i}_{part}"
            source = x if part == "squeeze1x1" else several["squeeze1x1"]
            y = conv2d(source, parameters[f"{name}/kernel"], parameters[f"{name}/bias"])
            found[name] = y
            found[f"fire{i}_relu_{part}"] = several[part] = np.maximum(y, 0)
        x = np.concatenate([several["expand1x1"], several["expand3x3"]], axis=-1)
        found[f"fire{i}_concat"] = x
        if i in pooled:
            found[f"pool{i}"] = x = largest(x)
    return found


def encode(image, space):
    """Apply a color space channel by channel."""
    channels = {"rgb": (0, 1, 2), "bgr": (2, 1, 0)}[space.order]
    image = np.asarray(image, np.float64)
    planes = [
        (image[..., c] * space.scale - m) / d
        for c, m, d in zip(channels, space.mean, space.deviation, strict=True)
    ]
    return np.stack(planes, axis=-1)


def flat(params):
    """Flatten a network's parameters to ``conv1_1/kernel`` ..., float64."""
    return {
        f"{layer}/{part}": np.asarray(values, np.float64)
        for layer, parts in params.items()
        for part, values in parts.items()
    }


def tiny_network(preprocessing, *, blocks=TINY, seed=0, name="tiny", **options):
    """A small VGG with random parameters."""
    rng, parameters, channels = np.random.default_rng(seed), {}, 3
    for b, widths in enumerate(blocks, 1):
        for i, width in enumerate(widths, 1):
            deviation = np.sqrt(2 / (9 * channels))
            kernel = rng.normal(0, deviation, (3, 3, channels, width))
            parameters[f"conv{b}_{i}/kernel"] = kernel
            parameters[f"conv{b}_{i}/bias"] = rng.normal(0, 0.1, width)
            channels = width
    return make_network(name, VGG(blocks, **options), preprocessing, parameters)


# Statistics and losses.


def gram(features):
    """Sum over positions of the products of two channels."""
    features = np.asarray(features, np.float64)
    return np.einsum("hwi,hwj->ij", features, features)


def style_statistic(features, kind):
    """``gram`` over N, mean and deviation, or NumPy's covariance with the mean as the last row."""
    vectors = np.asarray(features, np.float64).reshape(-1, np.shape(features)[-1])
    if kind == "gram":
        return vectors.T @ vectors / len(vectors)
    if kind == "mean-deviation":
        return np.stack([vectors.mean(0), vectors.std(0)])
    return np.vstack([np.cov(vectors.T, bias=True), vectors.mean(0)])


def mixed_statistic(several, kind):
    """The same for several feature maps, each counting alike whatever its size.

    The mean over maps of the second moment around the common mean, which is not the mean of the
    maps' covariances.
    """
    vectors = [np.asarray(f, np.float64).reshape(-1, np.shape(f)[-1]) for f in several]
    if kind == "gram":
        return np.mean([v.T @ v / len(v) for v in vectors], axis=0)
    mean = np.mean([v.mean(0) for v in vectors], axis=0)
    centred = [v - mean for v in vectors]
    return np.vstack([np.mean([c.T @ c / len(c) for c in centred], axis=0), mean])


def style_loss(statistic, target, distance, positions=1, pixels=1):
    if distance == "wasserstein":
        return wasserstein(statistic, target)
    squared = np.sum((statistic - target) ** 2)
    channels = target.shape[1]
    return {
        "gatys": squared / (4 * channels**2),
        "mean": np.mean((statistic - target) ** 2),
        "target": squared / (np.sum(target**2) + 1e-4),
        "elements": squared / channels**4,
        "sums": positions * squared / channels**3,
        "rows": squared / channels**3 / pixels,
        "keras": positions**2 * squared / (36 * pixels**2),
    }[distance]


def newton_schulz(matrix, steps=12):
    """The root of a symmetric matrix by the coupled iteration (Higham 2008, 6.35)."""
    norm = np.linalg.norm(matrix)
    one = np.eye(len(matrix))
    y, z = matrix / norm, one
    for _ in range(steps):
        t = (3 * one - z @ y) / 2
        y, z = y @ t, t @ z
    return y * np.sqrt(norm)


def wasserstein(statistic, target, root=newton_schulz, ridge=1e-4):
    """Squared 2-Wasserstein distance of two normal distributions, over the channels."""
    (k1, m1), (k2, m2) = ((a[:-1] + ridge * np.eye(a.shape[1]), a[-1]) for a in (statistic, target))
    half = root(k2)
    bures = np.trace(k1) + np.trace(k2) - 2 * np.trace(root(half @ k1 @ half))
    return (np.sum((m1 - m2) ** 2) + bures) / len(m1)


def content_loss(features, target, normalization):
    squared = (np.asarray(features, np.float64) - np.asarray(target, np.float64)) ** 2
    return {
        "sum": squared.sum() / 2,
        "mean": squared.mean(),
        "target": squared.mean() / (np.mean(np.asarray(target, np.float64) ** 2) + 1e-4),
    }[normalization]


def total_variation(image, kind="squared", chroma=1.0):
    x = np.asarray(image, np.float64)
    down, right = np.diff(x, axis=0), np.diff(x, axis=1)
    if kind == "diagonal":
        return nine_points(x)
    if kind != "squared":
        return sum(
            (down[i, j, c] ** 2 + right[i, j, c] ** 2) ** (1.25 if kind == "power" else 1.0)
            / (1 if kind == "power" else 2)
            for i in range(x.shape[0] - 1)
            for j in range(x.shape[1] - 1)
            for c in range(x.shape[2])
        )
    total = 0.0
    for difference in (down, right):
        grey = np.repeat(difference.mean(-1, keepdims=True), 3, axis=-1)
        total += np.mean(grey**2) + chroma * np.mean((difference - grey) ** 2)
    return total


def nine_points(x):
    """Twice a third of the straight and a twelfth of the diagonal mean squared differences."""
    h, w, _ = x.shape

    def at(i, j):
        return x[min(max(i, 0), h - 1), min(max(j, 0), w - 1)]

    straight = [
        np.mean([(at(i + a, j + b) - at(i, j)) ** 2 for i in range(h) for j in range(w)])
        for a, b in ((1, 0), (0, 1))
    ]
    corners = [(i, j) for i in range(-1, h) for j in range(-1, w)]
    diagonal = [
        np.mean([(at(i + 1, j + 1) - at(i, j)) ** 2 for i, j in corners]),
        np.mean([(at(i + 1, j) - at(i, j + 1)) ** 2 for i, j in corners]),
    ]
    return 2 * (sum(straight) / 3 + sum(diagonal) / 12)


def total_loss(variable, network, recipe, content, styles):
    """The whole objective of a recipe, composed of the pieces above: total, content, style, tv."""
    parameters = flat(network.params)

    def features(image):
        module = network.module
        exceptions = () if recipe.padding else module.exceptions
        if recipe.first_padding:
            exceptions = (*exceptions, ("conv1_1", recipe.first_padding))
        return vgg_features(
            encode(image, recipe.preprocessing or network.preprocessing),
            parameters,
            recipe.padding or module.padding,
            exceptions,
            recipe.pooling or module.pooling,
        )

    found, wanted = features(decode(variable, recipe.space)), features(content)
    painted = [features(style) for style in styles]
    c, s = recipe.content, recipe.style

    def style_term(maps):
        return sum(
            w
            * style_loss(
                style_statistic(maps[n], s.statistic),
                mixed_statistic([p[n] for p in painted], s.statistic),
                s.distance,
                maps[n].shape[0] * maps[n].shape[1],
                variable.shape[0] * variable.shape[1],
            )
            for n, w in s.layers
        )

    style = style_term(found)
    if s.normalization == "content":
        style *= sum(w for _, w in s.layers) / style_term(wanted)
    terms = [
        c.weight * sum(w * content_loss(found[n], wanted[n], c.normalization) for n, w in c.layers),
        s.weight * style,
        recipe.tv.weight * total_variation(variable, recipe.tv.kind, recipe.tv.chroma),
    ]
    return np.array([sum(terms), *terms])


def decode(variable, space):
    """Undo :func:`encode`."""
    planes = [
        (np.asarray(variable, np.float64)[..., c] * d + m) / space.scale
        for c, (m, d) in enumerate(zip(space.mean, space.deviation, strict=True))
    ]
    return np.stack(planes if space.order == "rgb" else planes[::-1], axis=-1)


def slope(fun, x, direction, step=1e-6):
    """Central difference of a float64 function along a direction."""
    x, direction = np.asarray(x, np.float64), np.asarray(direction, np.float64)
    return (fun(x + step * direction) - fun(x - step * direction)) / (2 * step)


# Solvers.


def lbfgs(value_and_grad, x, steps, memory, rate=1.0):
    """L-BFGS with a fixed step (Nocedal, Wright 2006, algorithms 7.4 and 7.5): points and values.

    The first step is ``1 / |g|_1`` along the negative gradient, at most 1; nothing is guarded.
    """
    x = np.asarray(x, np.float64)
    value, g = value_and_grad(x)
    pairs, points, values = [], [x], [value]
    for _ in range(steps):
        q, alphas = g.copy(), []
        for s, y in reversed(pairs):
            alphas.append(np.vdot(s, q) / np.vdot(s, y))
            q -= alphas[-1] * y
        if pairs:
            s, y = pairs[-1]
            q *= np.vdot(s, y) / np.vdot(y, y)
        for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
            q += (alpha - np.vdot(y, q) / np.vdot(s, y)) * s
        length = rate if pairs else rate * min(1.0, 1 / np.abs(g).sum())
        new = x - length * q
        value, new_g = value_and_grad(new)
        pairs = [*pairs, (new - x, new_g - g)][-memory:]
        x, g = new, new_g
        points.append(x)
        values.append(value)
    return points, values


def adam(gradient, x, steps, rate, b1, b2, *, bounds=None, average=0.0, epsilon=1e-8):
    """Adam (Kingma, Ba 2015, algorithm 1): the last point, and the debiased mean of all points.

    The mean is computed from its definition, weights ``average^age`` that sum to 1.
    """
    x = np.asarray(x, np.float64)
    m, v, points = np.zeros_like(x), np.zeros_like(x), []
    for t in range(1, steps + 1):
        g = gradient(x)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        x = x - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + epsilon)
        x = x if bounds is None else np.clip(x, *bounds)
        points.append(x)
    weights = float(average) ** np.arange(steps - 1, -1, -1)
    return x, np.tensordot(weights / weights.sum(), points, 1)


def enlarged(image):
    """Double both sides, linear between pixels (and beyond the border as it comes)."""
    image = np.asarray(image, np.float64)
    for axis in (0, 1):
        before, after = np.roll(image, 1, axis), np.roll(image, -1, axis)
        pairs = np.stack([0.25 * before + 0.75 * image, 0.75 * image + 0.25 * after], axis + 1)
        image = pairs.reshape(*image.shape[:axis], -1, *image.shape[axis + 1 :])
    return image


# Recipes.

SHALLOW = ("--style-layers", "relu1_1", "--content-layers", "relu2_1")
"""Flags for tests to which layers do not matter: compiled in a quarter of the time."""


def tiny_recipe(**changes):
    """A recipe for :func:`tiny_network`; ``solver``, ``scales`` and so on may be replaced."""
    recipe = Recipe(
        name="tiny",
        content=Content(layers=(("relu3_1", 1.0),)),
        style=Style(layers=(("relu1_1", 0.5), ("relu2_1", 0.3), ("relu3_2", 0.2))),
        tv=TotalVariation(),
        solver=Solver(),
        scales=Scales(least=32, evaluations=(5, 4, 3)),
    )
    return dataclasses.replace(recipe, **changes)


def picture(height, width, seed=0):
    """A smooth random picture, float32 RGB that fills [0.1, 0.9]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    planes = []
    for _ in range(3):
        waves = rng.uniform(1, 9, (4, 2))
        phases = rng.uniform(0, 2 * np.pi, 4)
        plane = sum(
            np.sin(2 * np.pi * (a * x + b * y) + p) for (a, b), p in zip(waves, phases, strict=True)
        )
        planes.append(plane)
    image = np.stack(planes, axis=-1)
    image = 0.1 + 0.8 * (image - image.min()) / np.ptp(image)
    return image.astype(np.float32)
