"""Every published recipe against an independent statement of its loss, in float64 PyTorch.

The statements below are written from the posts and papers, channels first as PyTorch has it, and
share nothing with the library but the parameters of small random networks. They are compared at
three images: the method's own start, one near the content and one far from both.
"""

import dataclasses
from functools import partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.losses.objective import (
    Targets,
    content_targets,
    make_loss_weights,
    make_objective,
    match_columns,
    style_columns,
    style_summaries,
    style_targets,
)
from jaxnst.networks import PREPROCESSING, make_network
from jaxnst.networks.densenet import DenseNet
from jaxnst.recipes import RECIPES, get_recipe
from jaxnst.transfer.pyramid import make_schedule

torch = pytest.importorskip("torch", reason="PyTorch, an extra, is not installed")
functional = torch.nn.functional

pytestmark = pytest.mark.torch

SIZE = (48, 64)
CONTENT = helpers.picture(*SIZE, seed=1)
STYLE = helpers.picture(*SIZE, seed=2)
FIRST = [f"relu{b}_1" for b in range(1, 6)]
MEAN = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64)
NARROW = {"vgg16": ((4, 4), (6, 6), (8, 8, 8), (8, 8, 8), (8, 8, 8))}
NARROW["vgg16-lite"] = NARROW["vgg16"]
NARROW["vgg19"] = ((4, 4), (6, 6), (8, 8, 8, 8), (8, 8, 8, 8), (8, 8, 8, 8))


def network_of(recipe):
    """A narrow network of the recipe's family, with the preprocessing of its parameters."""
    spaces = {"keras-vgg16-avgpool": "caffe", "keras-vgg19-tv": "caffe", "gatys2016": "caffe"}
    spaces |= {"neural-style": "caffe", "tensorflow-vgg19-matconvnet": "matconvnet"}
    space = PREPROCESSING[spaces.get(recipe.name, "imagenet")]
    if "densenet" in recipe.network:
        module = DenseNet((6, 2, 2, 2))
        rng = np.random.default_rng(3)
        params = {
            key: np.abs(rng.normal(1, 0.1, shape)) + 0.1
            if key.endswith(("gamma", "variance"))
            else rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.1, shape)
            for key, shape in module.shapes().items()
        }
        return make_network(recipe.network, module, space, params)
    blocks = NARROW[recipe.network.removesuffix("-torchvision")]
    return helpers.tiny_network(space, blocks=blocks, name=recipe.network)


def tensor(array):
    if isinstance(array, torch.Tensor):  # the image, which wants a gradient
        return array
    return torch.tensor(np.asarray(array), dtype=torch.float64)


def chw(image):
    """``(H, W, 3)`` RGB in [0, 1] to ``(3, H, W)``."""
    return tensor(image).permute(2, 0, 1)


def bgr(image, scale=255.0):
    """The Caffe networks' input."""
    return chw(image).flip(0) * scale - MEAN[:, None, None]


def rgb255(image):
    return chw(image) * 255 - MEAN.flip(0)[:, None, None]


def normalised(image):
    mean, deviation = tensor([0.485, 0.456, 0.406]), tensor([0.229, 0.224, 0.225])
    return (chw(image) - mean[:, None, None]) / deviation[:, None, None]


def vgg(network, x, pool, first="zeros", rest="zeros"):
    """All ReLU outputs by name, ``(C, H, W)``."""
    found, block = {}, "1"
    for layer, arrays in network.params.items():
        if layer[4] != block:
            x = pool(x[None], 2)[0]
            block = layer[4]
        kernel = tensor(arrays["kernel"]).permute(3, 2, 0, 1)
        padding = first if layer == "conv1_1" else rest
        mode = "replicate" if padding == "replicate" else "constant"
        padded = functional.pad(x[None], (1, 1, 1, 1), mode=mode)
        x = functional.conv2d(padded, kernel, tensor(arrays["bias"]))[0].relu()
        found[layer.replace("conv", "relu")] = x
    return found


def densenet(network, x):
    """ReLUs and concatenations of the first dense block."""
    p, eps = network.params, network.module.epsilon

    def conv(name, x, **more):
        return functional.conv2d(x[None], tensor(p[name]["kernel"]).permute(3, 2, 0, 1), **more)[0]

    def norm(name, x):
        a = {part: tensor(v)[:, None, None] for part, v in p[name].items()}
        return (x - a["mean"]) / (a["variance"] + eps).sqrt() * a["gamma"] + a["beta"]

    found = {}
    x = norm("conv1_bn", conv("conv1_conv", x, stride=2, padding=3)).relu()
    x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1))[None], 3, 2)[0]
    for i in range(1, 7):
        name = f"conv2_block{i}"
        found[f"{name}_0_relu"] = y = norm(f"{name}_0_bn", x).relu()
        y = norm(f"{name}_1_bn", conv(f"{name}_1_conv", y)).relu()
        x = torch.cat([x, conv(f"{name}_2_conv", y, padding=1)])
        found[f"{name}_concat"] = x
    return found


def gram(features):
    flat = features.reshape(len(features), -1)
    return flat @ flat.T


def grid_variation(x):
    """Squared gradient on the (H-1) x (W-1) grid."""
    down = x[:, :-1, :-1] - x[:, 1:, :-1]
    right = x[:, :-1, :-1] - x[:, :-1, 1:]
    return down**2 + right**2


avg, most = functional.avg_pool2d, functional.max_pool2d


def gatys2016(network, image, content, style):
    f, p, s = (vgg(network, bgr(i), avg) for i in (image, content, style))
    loss = ((f["relu4_2"] - p["relu4_2"]) ** 2).sum() / 2
    for n in FIRST:
        c, positions = len(f[n]), f[n][0].numel()
        error = ((gram(f[n]) - gram(s[n])) ** 2).sum() / (4 * positions**2 * c**2)
        loss = loss + 1e3 * error / 5
    return loss


def keras_vgg16(network, image, content, style):
    f, p, s = (vgg(network, bgr(i), avg) for i in (image, content, style))

    def elements(x):
        return x.numel()

    content_loss = ((f["relu4_2"] - p["relu4_2"]) ** 2).mean(0).sum() / elements(f["relu4_2"])
    style_loss = 0.0
    for block, weight in zip(range(1, 6), (0.05, 0.2, 0.2, 0.25, 0.3), strict=True):
        n = f"relu{block}_2"
        difference = gram(f[n]) / elements(f[n]) - gram(s[n]) / elements(s[n])
        style_loss = style_loss + weight * (difference**2).mean(-1).sum()
    return style_loss / elements(f["relu1_2"]) + content_loss / 15


def keras_style(f, s, layers, height, width):
    return sum(
        ((gram(s[n]) - gram(f[n])) ** 2).sum() / (4.0 * 3**2 * (height * width) ** 2)
        for n in layers
    ) / len(layers)


def keras_vgg19(network, image, content, style):
    f, p, s = (vgg(network, bgr(i), most) for i in (image, content, style))
    loss = 0.025 * ((f["relu5_2"] - p["relu5_2"]) ** 2).sum()
    loss = loss + 1.0 * keras_style(f, s, FIRST, *SIZE)
    return loss + 1.0 * (grid_variation(bgr(image)) ** 1.25).sum()


def keras_densenet(network, image, content, style):
    f, p, s = (densenet(network, 255 * chw(i)) for i in (image, content, style))
    name = "conv2_block3_0_relu"
    loss = 4 * ((f[name] - p[name]) ** 2).sum() / 2
    concats = [f"conv2_block{i}_concat" for i in range(1, 7)]
    loss = loss + 500000 * keras_style(f, s, concats, *SIZE)
    return loss + 0.0001 * (grid_variation(255 * chw(image)) ** 1.25).sum()


def pytorch_vgg19(network, image, content, style):
    f, p, s = (vgg(network, normalised(i), most) for i in (image, content, style))
    loss = 1 * ((f["relu4_2"] - p["relu4_2"]) ** 2).mean()
    for n, weight in zip(FIRST, (1.0, 0.8, 0.5, 0.3, 0.1), strict=True):
        difference = ((gram(f[n]) - gram(s[n])) ** 2).mean()
        loss = loss + 1e6 * weight * difference / f[n].numel()
    return loss


def tensorflow_vgg19(network, image, content, style):
    f, p, s = (vgg(network, rgb255(i), avg) for i in (image, content, style))
    c, positions = len(f["relu4_2"]), f["relu4_2"][0].numel()
    loss = 5 * ((f["relu4_2"] - p["relu4_2"]) ** 2).sum() / (4 * c * positions)
    for n, weight in zip(FIRST, (0.5, 1.0, 1.5, 3.0, 4.0), strict=True):
        c, positions = len(f[n]), f[n][0].numel()
        error = ((gram(f[n]) - gram(s[n])) ** 2).sum() / (4 * c**2 * positions**2)
        loss = loss + 100 * weight * error
    return loss


def neural_style(network, image, content, style):
    f, p, s = (vgg(network, bgr(i, 256.0), most) for i in (image, content, style))
    loss = 5 * ((f["relu4_2"] - p["relu4_2"]) ** 2).mean()
    for n in FIRST:
        difference = gram(f[n]) / f[n].numel() - gram(s[n]) / s[n].numel()
        loss = loss + 100 * (difference**2).mean()
    return loss + 1e-3 * grid_variation(bgr(image, 256.0)).sum() / 2


def roots(matrix):
    """Root and inverse root after 12 Newton-Schulz steps."""
    norm = torch.linalg.norm(matrix)
    one = torch.eye(len(matrix), dtype=matrix.dtype)
    y, z = matrix / norm, one
    for _ in range(12):
        t = (3 * one - z @ y) / 2
        y, z = y @ t, t @ z
    return y * norm.sqrt(), z / norm.sqrt()


class RootTrace(torch.autograd.Function):
    """Its gradient is half the inverse root."""

    @staticmethod
    def forward(context, matrix):
        root, inverse = roots(matrix)
        context.save_for_backward(inverse)
        return torch.trace(root)

    @staticmethod
    def backward(context, grad):
        (inverse,) = context.saved_tensors
        return grad * (inverse + inverse.T) / 4


root_trace = RootTrace.apply


def transport(f, s, trace_of_root):
    def gaussian(x):
        flat = x.reshape(len(x), -1)
        mean = flat.mean(1)
        second = flat @ flat.T / flat.shape[1]
        ridge = 1e-4 * torch.eye(len(x), dtype=x.dtype)
        return mean, second - torch.outer(mean, mean) + ridge

    (mean, k), (mean_s, k_s) = gaussian(f), gaussian(s)
    half, _ = roots(k_s)
    bures = torch.trace(k) + torch.trace(k_s) - 2 * trace_of_root(half @ k @ half)
    return (((mean - mean_s) ** 2).sum() + bures) / len(f)


def wasserstein(network, image, content, style, trace_of_root=root_trace):
    f, p, s = (vgg(network, normalised(i), most, "replicate") for i in (image, content, style))
    loss = 0.015 * ((f["relu4_2"] - p["relu4_2"]) ** 2).mean()
    for n, weight in zip(FIRST, (256, 64, 16, 4, 1), strict=True):
        loss = loss + weight / 341 * transport(f[n], s[n], trace_of_root)
    x = functional.pad(chw(image)[None], (1, 1, 1, 1), mode="replicate")[0]
    straight = ((x[:, 2:, 1:-1] - x[:, 1:-1, 1:-1]) ** 2).mean()
    straight = straight + ((x[:, 1:-1, 2:] - x[:, 1:-1, 1:-1]) ** 2).mean()
    diagonal = ((x[:, 1:, 1:] - x[:, :-1, :-1]) ** 2).mean()
    diagonal = diagonal + ((x[:, 1:, :-1] - x[:, :-1, 1:]) ** 2).mean()
    return loss + 2.0 * 2 * (straight / 3 + diagonal / 12)


def nnst(network, image, content, style):
    def columns(picture):
        maps = vgg(network, normalised(picture), most, "replicate", "replicate")
        layers = [
            (b, i) for b, last in ((1, 2), (2, 2), (3, 3), (4, 3)) for i in range(1, last + 1)
        ]
        parts = [maps[f"relu{b}_{i}"][None] for b, i in layers]
        size = {"size": (SIZE[0] // 4, SIZE[1] // 4), "mode": "bilinear"}
        sized = [functional.interpolate(part, **size) / part.shape[1] for part in parts]
        return torch.cat(sized, dim=1)[0].flatten(1).T

    f, p, s = map(columns, (image, content, style))
    centered = [functional.normalize(x - x.mean(0)) for x in (p, s)]
    targets = s[(centered[0] @ centered[1].T).argmax(dim=1)]
    return 1 - functional.cosine_similarity(f, targets).mean()


STATEMENTS = {
    "gatys2016": gatys2016,
    "keras-vgg16-avgpool": keras_vgg16,
    "keras-vgg19-tv": keras_vgg19,
    "keras-densenet121": keras_densenet,
    "keras-densenet169": keras_densenet,
    "keras-densenet201": keras_densenet,
    "pytorch-vgg19-adam": pytorch_vgg19,
    "tensorflow-vgg19-matconvnet": tensorflow_vgg19,
    "neural-style": neural_style,
    "wasserstein": wasserstein,
    "nnst": nnst,
}
# Each post's own channel count stands in a weight: relu1_2 has 64, relu4_2 512 in the real VGG16.
NARROWED = {
    "keras-vgg16-avgpool": lambda r: dataclasses.replace(
        r,
        content=dataclasses.replace(r.content, weight=r.content.weight * 512 / 8),
        style=dataclasses.replace(r.style, weight=r.style.weight * 64 / 4),
    )
}


def images():
    rng = np.random.default_rng(6)
    near = np.clip(CONTENT + rng.normal(0, 0.05, CONTENT.shape), 0, 1)
    return {
        "noise": rng.uniform(0, 1, CONTENT.shape),
        "near the content": near,
        "far from both": helpers.picture(*SIZE, seed=7),
    }


IMAGES = images()


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "default"])
def test_published_methods_round_no_side(name):
    scales = dataclasses.replace(RECIPES[name].scales, several=False)
    styles = [] if scales.style_like_content else [(333, 250)]
    schedule = make_schedule((333, 250), styles, scales, size=333)
    assert all(scale.inner == schedule.size for scale in schedule.scales)
    assert all(scale.styles == tuple(styles) for scale in schedule.scales)


def test_every_published_recipe_has_a_statement():
    assert set(STATEMENTS) == set(RECIPES) - {"default"}


def both(name, image, statement=None):
    """Loss and gradient of a recipe, and those of its statement, at an image."""
    recipe = NARROWED.get(name, lambda r: r)(get_recipe(name))
    network, space = network_of(recipe), recipe.space
    objective = make_objective(recipe, network)
    args = network.params, targets_of(objective, network), make_loss_weights(recipe)
    variable = jnp.asarray(helpers.encode(image, space), jnp.float32)
    (loss, _), grad = value_and_grad(objective, variable, *args)
    exact = helpers.decode(variable, space)  # the image that float32 made of it
    leaf = torch.tensor(exact, dtype=torch.float64, requires_grad=True)
    expected = (statement or STATEMENTS[name])(network, leaf, CONTENT, STYLE)
    expected.backward()
    # Back to the variable: an image in [0, 1] is (deviation * variable + mean) / scale.
    ordered = leaf.grad.numpy()[..., :: -1 if space.order == "bgr" else 1]
    wanted = ordered * np.asarray(space.deviation) / space.scale
    return loss, expected.item(), np.asarray(grad, np.float64), wanted


@partial(jax.jit, static_argnums=0)
def value_and_grad(objective, variable, *args):
    return jax.value_and_grad(objective, has_aux=True)(variable, *args)


def targets_of(objective, network):
    if objective.by_neighbors:  # of nearest neighbors, here those of a style that is not turned
        images, numbers = map(jnp.asarray, (CONTENT, STYLE)), make_loss_weights(get_recipe("nnst"))
        content, style = images
        styles = [style_columns(objective, network.params, style, numbers)]
        return match_columns(objective, network.params, content, styles, numbers)
    see = jax.jit(partial(style_summaries, objective, network.params))
    content = jax.jit(partial(content_targets, objective, network.params))
    styles = style_targets(objective, [see(jnp.asarray(STYLE))])
    return Targets(content(jnp.asarray(CONTENT)), styles)


@pytest.mark.parametrize("where", IMAGES)
@pytest.mark.parametrize("name", STATEMENTS)
def test_loss_and_gradient_equal_an_independent_statement(name, where):
    loss, expected, grad, wanted = both(name, IMAGES[where])
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert np.linalg.norm(grad - wanted) < 1e-3 * np.linalg.norm(wanted)


@pytest.mark.parametrize("where", IMAGES)
def test_the_trace_only_gradient_is_close_to_the_one_through_all_steps(where):
    """They differ where twelve steps leave a root unresolved."""

    def through_all_steps(network, image, content, style):
        def trace(matrix):
            return torch.trace(roots(matrix)[0])

        return wasserstein(network, image, content, style, trace)

    loss, expected, grad, wanted = both("wasserstein", IMAGES[where], through_all_steps)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert np.linalg.norm(grad - wanted) < 2e-2 * np.linalg.norm(wanted)
