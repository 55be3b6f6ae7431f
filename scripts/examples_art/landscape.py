"""The content picture: a village by a lake, lit by a low sun, rendered from a small 3-D scene."""

import numpy as np

from examples_art import faces, plants, sky, terrain, village
from examples_art.common import Array, blur, fractal, mix, shrink, smoothstep, to_srgb
from examples_art.scene import Camera, Frame, ShadowMap, Things

HEIGHT, WIDTH, OVERSAMPLING = 512, 768, 2
TREE = 18  # the seed whose tall tree has the best shape


def render(seed: int = 1) -> Array:
    """Render the landscape, (512, 768, 3) sRGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    n = OVERSAMPLING
    camera = Camera(HEIGHT * n, WIDTH * n, horizon=270.0 * n, focal=750.0 * n)
    objects = Things.join(_objects(rng))
    shadows = ShadowMap()
    shadows.add(objects.points)
    colors = objects.lit(shadows)
    view, heaven = terrain.View(camera), sky.render(camera)
    picture, mirror = Frame(camera), Frame(camera, flip=True)
    rows = len(heaven)
    picture.color[:rows] = heaven
    reflected = np.minimum(2 * rows - np.arange(rows, camera.height), rows - 1)
    mirror.color[rows:] = heaven[np.maximum(reflected, 0)]
    for frame in (mirror, picture):
        _draw_ground(frame, view, shadows)
        frame.draw(objects.points, colors, objects.radii)
    _fill_water(picture, mirror)
    return _develop(picture.color, rng)


def _buildings() -> list[tuple[faces.Place, village.House]]:
    """List the houses with their places."""
    cream, white, rose = (0.70, 0.62, 0.46), (0.74, 0.71, 0.66), (0.62, 0.36, 0.27)
    ochre, brown = (0.62, 0.43, 0.17), (0.30, 0.19, 0.12)
    rust, bright, dark = (0.34, 0.095, 0.05), (0.42, 0.155, 0.08), (0.24, 0.11, 0.075)
    green, blue, wood = (0.10, 0.20, 0.10), (0.06, 0.12, 0.24), (0.20, 0.12, 0.08)
    house, place = village.House, faces.Place
    return [
        (place(-24.5, 99, 0.62), house(width=11, timber=True, wall=white)),
        (place(-9.5, 96, -0.40), house(width=9.5, wall=ochre, roof=rust, shutters=green)),
        (place(5.5, 101, 0.55), house(width=10, wall=cream, roof=bright, shutters=blue)),
        (place(-38, 112, 0.25), house(width=12, floors=1, wall=brown, roof=dark, shutters=wood)),
        (place(-1.5, 122, 0.2), house(width=9, wall=rose, roof=rust)),
        (place(-34, 139, 0.75), house(width=9, wall=cream, timber=True)),
    ]


def _objects(rng: np.random.Generator) -> list[Things]:
    """Place everything that stands on the ground or floats."""
    parts = [part for place, plan in _buildings() for part in village.house(place, plan)]
    parts += village.church(faces.Place(-15, 131, 0.45))
    parts += village.jetty(-3.5, 84, 9.0)
    parts += village.boat(1.6, 73.5, 0.35, (0.34, 0.06, 0.045))
    parts += village.boat(-8.8, 75.0, -0.5, (0.05, 0.14, 0.27))
    parts += village.boat(-5.6, 31.5, 0.22, (0.10, 0.20, 0.24))
    parts += [plants.tree(rng, x, z, kind, scale) for x, z, kind, scale in _planted()]
    parts += plants.forest(rng, 260, (-0.56, 0.20), (150, 420), 0.35)
    parts += plants.forest(rng, 220, (0.20, 0.56), (200, 420), 0.5)
    parts += plants.great_tree(np.random.default_rng(TREE), 11.0, 28.5)
    parts += plants.meadow(rng, 42000)
    parts.append(plants.reeds(rng, 90000, (-0.55, 0.3), (22, 34), 1.3))
    parts.append(plants.reeds(rng, 60000, (-0.55, 0.25), (74, 120), 1.2))
    return parts


def _planted() -> list[tuple[float, float, str, float]]:
    """List the trees of the village: x, z, kind, scale."""
    return [
        (-47, 108, "poplar", 1.1), (-44.5, 110, "poplar", 1.25), (-42, 113, "poplar", 1.05),
        (-30.5, 90, "oak", 0.75), (-16.8, 104, "oak", 1.0), (-17.5, 88.5, "bush", 1.1),
        (-1.8, 92, "bush", 1.2), (13.5, 97, "oak", 0.95), (18.5, 106, "poplar", 1.0),
        (20.8, 108, "poplar", 1.15), (12.0, 112, "oak", 1.15), (0.0, 108, "oak", 0.8),
        (-27, 118, "oak", 1.1), (-5, 140, "oak", 1.3), (6, 138, "spruce", 1.1),
        (10, 134, "spruce", 1.3), (-24, 150, "oak", 1.3), (-44, 130, "spruce", 1.2),
        (-49, 134, "spruce", 1.4), (-40, 96, "oak", 0.9), (26, 118, "oak", 1.0),
        (31, 128, "bush", 1.4), (-35.5, 87.5, "bush", 1.2), (9.5, 90, "bush", 0.9),
        # Out of sight on the left: their shadows fall over the near meadow.
        (-20, 21, "oak", 1.0), (-15, 11, "oak", 1.0), (-26, 24, "oak", 1.3),
    ]  # fmt: skip


def _draw_ground(frame: Frame, view: terrain.View, shadows: ShadowMap) -> None:
    """Draw the land that the camera, or its mirror image, sees."""
    row, column, z = view.visible(frame.flip)
    x = (column + 0.5 - frame.camera.width / 2) / frame.camera.focal * z
    points = np.stack([x, terrain.surface(x, z), z], 1).astype(np.float32)
    frame.color[row, column] = terrain.colors(points, shadows, 1 / frame.camera.focal)
    frame.depth[row, column] = z


def _fill_water(picture: Frame, mirror: Frame) -> None:
    """Fill what is still open below the horizon with water that mirrors the scene."""
    camera = picture.camera
    row, column = np.nonzero(np.isinf(picture.depth))
    below = row > camera.horizon
    row, column = row[below], column[below]
    slope = (row + 0.5 - camera.horizon) / camera.focal
    z = camera.eye / slope
    x = (column + 0.5 - camera.width / 2) / camera.focal * z
    ruffle = 0.35 + 0.65 * smoothstep(-0.2, 0.5, fractal(x / 38, z / 16, 3, 61))
    waves = fractal(x / 1.9, z / 0.55, 3, 62) + 0.8 * fractal(x / 6.5, z / 2.1, 2, 63)
    # Far waves are finer than a pixel: what is left of them is a slight upright smear.
    steep = 0.0085 * ruffle * waves * np.minimum(1.0, 30.0 / z) ** 0.5
    smear = 0.004 * ruffle * np.random.default_rng(64).standard_normal(len(z))
    source = row + 2 * camera.focal * (steep + smear) * np.minimum(1.0, slope * 12)
    source = np.clip(np.round(source), camera.horizon + 1, camera.height - 1).astype(int)
    shift = np.round(camera.focal * 0.5 * steep * slope).astype(int)
    seen = mirror.color[source, np.clip(column + shift, 0, camera.width - 1)]
    fresnel = 0.16 + 0.80 * (1.0 - np.clip(slope + 1.2 * steep, 0, 1)) ** 4.5
    depth = np.array([0.020, 0.060, 0.068], np.float32)
    picture.color[row, column] = mix(depth, seen * np.array([0.93, 0.97, 1.0]), fresnel[:, None])


def _develop(light: Array, rng: np.random.Generator) -> Array:
    """Make a photograph of the light: glow, film curve, warm lights, vignette, grain."""
    light = shrink(light, OVERSAMPLING)
    bright = np.minimum(np.maximum(light - 0.9, 0.0), 4.0)
    light = light + 0.10 * blur(bright, 5) + 0.10 * blur(bright, 24)
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH]
    radius = np.hypot((row - HEIGHT / 2) / HEIGHT, (column - WIDTH / 2) / WIDTH)
    light = 0.74 * light * (1.0 - 0.42 * radius**2)[..., None]
    film = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)
    tone = to_srgb(film)
    grain = blur(rng.standard_normal((HEIGHT, WIDTH, 3)).astype(np.float32), 0.6)
    grain = 0.7 * grain.mean(2, keepdims=True) + 0.3 * grain
    return np.clip(tone + 0.017 * grain, 0.0, 1.0).astype(np.float32)
