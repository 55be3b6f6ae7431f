"""Trees, reeds, grass and flowers of the landscape, as clouds of small discs."""

import numpy as np

from examples_art import terrain
from examples_art.common import Array, fractal, mix, smoothstep
from examples_art.scene import Things, things

Random = np.random.Generator
SUMMER = ((0.10, 0.17, 0.035), (0.15, 0.20, 0.04), (0.075, 0.135, 0.035), (0.20, 0.20, 0.045))
AUTUMN = ((0.36, 0.20, 0.035), (0.42, 0.27, 0.05), (0.30, 0.12, 0.03))
NEEDLES = ((0.035, 0.075, 0.04), (0.045, 0.085, 0.035))


def _directions(rng: Random, count: int) -> Array:
    """Draw unit vectors evenly."""
    vectors = rng.standard_normal((count, 3)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _trunk(foot: Array, height: float, radius: float, leaf: float) -> Things:
    """Make a bare upright trunk."""
    turns = np.linspace(0, 2 * np.pi, 14)
    levels = np.linspace(0, height, max(int(height / (1.2 * leaf)), 4))
    turn, level = (a.ravel() for a in np.meshgrid(turns, levels))
    normals = np.stack([np.cos(turn), np.zeros_like(turn), np.sin(turn)], 1)
    taper = radius * (1 - 0.5 * level / height)
    points = foot + normals * taper[:, None]
    points[:, 1] += level
    return things(points, normals, (0.11, 0.085, 0.06), leaf, 0.7)


def round_tree(
    rng: Random, foot: Array, size: Array, leaves: int, leaf: float, tint: Array
) -> Things:
    """Make a leafy tree: a crown of ``size`` half-axes built of puffs, on a trunk."""
    centre = foot + np.array([0, size[1] * 1.18, 0])
    puffs = 34
    heading = _directions(rng, puffs)
    puff_at = heading * rng.uniform(0.30, 0.86, (puffs, 1)) * size
    puff_size = rng.uniform(0.18, 0.40, (puffs, 1)) * size
    chosen = rng.integers(0, puffs, leaves)
    out = _directions(rng, leaves)
    shell = rng.uniform(0.2, 1.25, (leaves, 1)) ** 0.5
    offset = puff_at[chosen] + out * shell * puff_size[chosen]
    depth = np.linalg.norm(offset / size, axis=1)
    normals = out + 0.8 * offset / size + 0.6 * _directions(rng, leaves)
    tone = rng.uniform(0.55, 1.40, (leaves, 1)) * rng.uniform(0.75, 1.2, puffs)[chosen][:, None]
    dark = (0.22 + 0.78 * smoothstep(0.35, 1.1, depth)) * (0.72 + 0.28 * offset[:, 1] / size[1])
    crown = things(centre + offset, normals, tint * tone, leaf, dark)
    return Things.join([crown, _trunk(foot, size[1] * 0.9, 0.07 * size[1] + 0.1, leaf)])


def conifer(
    rng: Random, foot: Array, height: float, leaves: int, leaf: float, tint: Array
) -> Things:
    """Make a spruce: drooping tiers round a mast."""
    level = 1.0 - np.sqrt(rng.random(leaves))
    tier = np.mod(level * (5 + height / 2.5) + 0.1 * rng.standard_normal(leaves), 1.0)
    reach = 0.24 * height * (1.02 - level) * (1.0 - 0.45 * tier) * rng.uniform(0.55, 1.0, leaves)
    turn = rng.uniform(0, 2 * np.pi, leaves)
    reach *= 0.8 + 0.2 * np.sin(turn * 3 + np.floor(level * 12) * 2.4)
    points = np.stack(
        [np.cos(turn) * reach, (0.08 + 0.92 * level) * height, np.sin(turn) * reach], 1
    )
    normals = np.stack([np.cos(turn), np.full(leaves, 0.55), np.sin(turn)], 1)
    tone = rng.uniform(0.7, 1.3, (leaves, 1)) * (0.7 + 0.5 * (1 - tier))[:, None]
    dark = 0.35 + 0.65 * reach / np.maximum(0.24 * height * (1.02 - level), 0.05)
    crown = things(foot + points, normals + 0.3 * _directions(rng, leaves), tint * tone, leaf, dark)
    return Things.join([crown, _trunk(foot, 0.15 * height, 0.03 * height, leaf)])


def _foot(x: float, z: float) -> Array:
    """Give the ground at (x, z) as a world point."""
    y = terrain.height(np.float32([x]), np.float32([z]))[0]
    return np.array([x, y - 0.1, z], np.float32)


def tree(rng: Random, x: float, z: float, kind: str, scale: float = 1.0) -> Things:
    """Plant an 'oak', 'poplar', 'spruce' or 'bush', as fine as its distance asks."""
    leaf = max(0.07, 0.00085 * z)
    foot = _foot(x, z)
    palette = NEEDLES if kind == "spruce" else AUTUMN if rng.random() < 0.16 else SUMMER
    tint = np.array(palette[rng.integers(len(palette))], np.float32) * rng.uniform(0.85, 1.15)
    if kind == "spruce":
        height = scale * rng.uniform(9, 14)
        return conifer(
            rng, foot, height, int(np.clip(1.6 * (height / leaf) ** 1.5, 90, 9000)), leaf, tint
        )
    axes = {"oak": (3.6, 3.9, 3.6), "poplar": (1.3, 7.0, 1.3), "bush": (1.5, 1.0, 1.4)}[kind]
    size = np.array(axes, np.float32) * scale * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    area = size[0] * size[1]
    return round_tree(rng, foot, size, int(np.clip(6.5 * area / leaf**2, 120, 16000)), leaf, tint)


def forest(rng: Random, count: int, across: tuple, z_range: tuple, spruces: float) -> list[Things]:
    """Plant trees in clumps on dry land between two directions and two distances."""
    planted = []
    z = z_range[0] * (z_range[1] / z_range[0]) ** rng.random(3 * count)
    x = rng.uniform(*across, 3 * count) * z
    dry = terrain.shore(x, z) > 3.0
    dense = fractal(x / 34 + 3, z / 60, 2, 41) + 0.25 * rng.standard_normal(3 * count) > 0.12
    for place in np.nonzero(dry & dense)[0][:count]:
        kind = "spruce" if rng.random() < spruces else "oak" if rng.random() < 0.8 else "bush"
        planted.append(tree(rng, x[place], z[place], kind, rng.uniform(0.7, 1.15)))
    return planted


def _grow(
    rng: Random, foot: Array, heading: Array, length: float, radius: float, level: int
) -> tuple:
    """Grow a branch with its twigs; give its points, their radii, and the tips of its twigs."""
    steps = max(int(length / 0.05), 4)
    bend = 0.05 * rng.standard_normal((steps, 3)).astype(np.float32)
    bend[:, 1] += 0.012 if level > 1 else -0.01
    course = heading + np.cumsum(bend, axis=0) * 0.55
    course /= np.linalg.norm(course, axis=1, keepdims=True)
    axis = foot + np.cumsum(course * (length / steps), axis=0)
    girth = radius * np.linspace(1.0, 0.58, steps)
    points, radii, tips = [axis], [girth], []
    if level == 0:
        return points, radii, [axis[steps // 3 :: max(steps // 4, 1)]]
    for child in range(rng.integers(3, 5)):
        at = steps - 1 if child == 0 else int(steps * rng.uniform(0.38, 0.95))
        spread = (0.35 if child == 0 else 0.85) * rng.standard_normal(3).astype(np.float32)
        turned = course[at] + spread + np.array([0, 0.16, 0], np.float32)
        turned /= np.linalg.norm(turned)
        longer = length * rng.uniform(0.62, 0.8)
        grown = _grow(
            rng, axis[at], turned, longer, girth[at] * (0.8 if child == 0 else 0.55), level - 1
        )
        for kept, new in zip((points, radii, tips), grown, strict=True):
            kept.extend(new)
    return points, radii, tips


def great_tree(rng: Random, x: float, z: float) -> list[Things]:
    """Grow the tall tree in front, branch by branch, with leaves about its twigs."""
    foot = _foot(x, z)
    heading = np.array([-0.10, 1.0, 0.0], np.float32)
    points, radii, tips = _grow(rng, foot, heading, 5.7, 0.44, 4)
    axis, girth = np.concatenate(points), np.concatenate(radii)
    around = 26
    turn = np.tile(np.linspace(0, 2 * np.pi, around, endpoint=False), len(axis))
    normals = np.stack([np.cos(turn), np.zeros_like(turn), np.sin(turn)], 1)
    bark = np.repeat(axis, around, 0) + normals * np.repeat(girth, around)[:, None]
    grain = fractal(turn * 2.2 + np.repeat(axis[:, 0], around), bark[:, 1] * 1.6, 3, 42)
    albedo = mix(
        np.array([0.075, 0.055, 0.042]), np.array([0.24, 0.20, 0.155]), (0.5 + 0.6 * grain)[:, None]
    )
    wood = things(bark, normals, np.clip(albedo, 0.02, 1), 0.03, 0.75)
    return [wood, _foliage(rng, np.concatenate(tips))]


def _foliage(rng: Random, tips: Array) -> Things:
    """Hang leaves about the tips of twigs."""
    each = 150
    ball = _directions(rng, len(tips) * each) * rng.random((len(tips) * each, 1)) ** 0.5
    offset = ball.reshape(len(tips), each, 3) * np.array([0.85, 0.6, 0.85])
    points = (tips[:, None] + offset).reshape(-1, 3)
    hue = np.array(SUMMER[0], np.float32) * 1.15 * rng.uniform(0.75, 1.25, (len(tips), 1, 1))
    albedo = hue * rng.uniform(0.6, 1.45, (len(tips), each, 1))
    albedo[..., 0] *= rng.uniform(0.9, 1.35, (len(tips), 1))
    middle = tips.mean(0)
    outward = (points - middle) / np.linalg.norm(tips - middle, axis=1).max()
    normals = 1.4 * outward + 0.7 * _directions(rng, len(points)) + np.array([0, 0.25, 0])
    dark = 0.35 + 0.65 * smoothstep(0.1, 0.8, np.linalg.norm(outward, axis=1))
    return things(
        points, normals, albedo.reshape(-1, 3), rng.uniform(0.008, 0.036, len(points)), dark
    )


def _blades(
    rng: Random,
    x: Array,
    z: Array,
    height: Array,
    root: Array,
    tip: Array,
    width: float,
    samples: int = 11,
) -> Things:
    """Draw curved blades from the ground at (x, z), colored from ``root`` to ``tip`` (N, 3)."""
    count = len(x)
    y = terrain.height(x, z)
    part = np.linspace(0, 1, samples, dtype=np.float32)
    lean = rng.normal(0.14, 0.30, (count, 1)) * height[:, None] * part**2
    points = np.empty((count, samples, 3), np.float32)
    points[..., 0] = x[:, None] + lean
    points[..., 1] = y[:, None] + height[:, None] * part * (1 - 0.12 * part)
    points[..., 2] = z[:, None] + rng.normal(0, 0.12, (count, 1)) * part**2
    albedo = mix(root[:, None], tip[:, None], part[None, :, None])
    normals = np.array([-0.25, 0.8, -0.45]) + 0.35 * rng.standard_normal((count, 1, 3))
    normals = np.broadcast_to(normals, points.shape)
    radii = np.broadcast_to(width * (1 - 0.8 * part), (count, samples))
    dark = np.broadcast_to(0.45 + 0.55 * part, (count, samples))
    flat = points.reshape(-1, 3)
    return things(flat, normals.reshape(-1, 3), albedo.reshape(-1, 3), radii.ravel(), dark.ravel())


def meadow(rng: Random, count: int) -> list[Things]:
    """Cover the near bank with grass, and with flowers in patches."""
    z = 13.0 * (40.0 / 13.0) ** rng.random(count)
    x = rng.uniform(-0.54, 0.54, count) * z
    land = terrain.shore(x, z)
    keep = (land > 0.25) & (z < 45)
    x, z, land = (a[keep].astype(np.float32) for a in (x, z, land))
    patch = fractal(x / 2.6, z / 2.6, 3, 43)
    height = (0.28 + 0.22 * patch + 0.2 * rng.random(len(x))) * smoothstep(0, 2.2, land)
    height = np.clip(height, 0.06, None).astype(np.float32)
    warm = np.clip(0.5 + 0.55 * patch + 0.2 * rng.standard_normal(len(x)), 0, 1)[:, None]
    tip = mix(np.array([0.12, 0.20, 0.04]), np.array([0.38, 0.34, 0.10]), warm).astype(np.float32)
    grass = _blades(rng, x, z, height, tip * 0.42, tip, 0.017)
    return [grass, *_flowers(rng, x, z, height)]


def _flowers(rng: Random, x: Array, z: Array, height: Array) -> list[Things]:
    """Set flowers of three colors on the tips of some of the grass."""
    blooms = []
    for seed, color in (
        (44, (0.75, 0.06, 0.035)),
        (45, (0.85, 0.82, 0.74)),
        (46, (0.80, 0.50, 0.04)),
    ):
        likely = smoothstep(0.15, 0.7, fractal(x / 3.1, z / 3.1, 2, seed))
        chosen = rng.random(len(x)) < 0.035 * likely
        middle = np.stack([x, terrain.height(x, z) + height * 0.95, z], 1)[chosen]
        petals = middle[:, None] + rng.normal(0, 0.035, (len(middle), 7, 3)) * [1, 0.6, 1]
        tone = rng.uniform(0.7, 1.15, (len(middle), 7, 1)) * np.array(color)
        up = np.array([-0.3, 0.8, -0.5])
        blooms.append(things(petals.reshape(-1, 3), up, tone.reshape(-1, 3), 0.028))
    return blooms


def reeds(rng: Random, count: int, across: tuple, z_range: tuple, height: float) -> Things:
    """Grow reeds in clumps along the waterline."""
    z = rng.uniform(*z_range, count).astype(np.float32)
    x = (rng.uniform(*across, count) * z).astype(np.float32)
    wet = np.abs(terrain.shore(x, z) + 0.2) < 0.7
    wet &= fractal(x / 3.2, z / 5, 2, 47) + 0.2 * rng.standard_normal(count) > 0.25
    x, z = x[wet], z[wet]
    clump = 0.75 + 0.9 * fractal(x / 1.3, z / 1.3, 2, 48)
    tall = (height * rng.uniform(0.35, 1.15, len(x)) * clump).astype(np.float32)
    tip = np.array([0.36, 0.34, 0.12]) * rng.uniform(0.7, 1.2, (len(x), 1))
    return _blades(rng, x, z, tall, 0.4 * tip, tip, 0.02, samples=48)
