"""The ground of the landscape: its height, its colors, and how the camera sees it."""

import numpy as np

from examples_art.common import Array, fractal, gradient_noise, mix, ridged, smoothstep
from examples_art.scene import SUN, Camera, ShadowMap, haze, shade

NEAREST, FARTHEST = 9.0, 14000.0


def shore(x: Array, z: Array) -> Array:
    """Give the signed distance to the shoreline in meters, about: positive on land."""
    ragged = 1.2 * fractal(x / 9, z / 9, 3, 11)
    near = 24.5 + 11 * smoothstep(3, 15, x) + 3.0 * smoothstep(-6, -14, x) + ragged
    far = 82 + 6 * gradient_noise(x / 24, 0.3, 12) + 520 * smoothstep(4, 150, x) + 3 * ragged
    headland = 62 - np.hypot((x - 152) / 1.5, z - 262) + 5 * ragged
    return np.maximum(np.maximum(near - z, z - far), headland)


def _where(needed: Array, function, *arguments: Array) -> Array:
    """Evaluate a function of arrays only where it is needed; 0 elsewhere."""
    result = np.zeros(needed.shape, np.float32)
    result[needed] = function(*(np.broadcast_to(a, needed.shape)[needed] for a in arguments))
    return result


def height(x: Array, z: Array, octaves: int = 9) -> Array:
    """Give the height of the ground over the water in meters."""
    x, z = np.broadcast_arrays(x, z)
    s = shore(x, z)
    land = np.maximum(s, 0.0)
    ground = 1.3 * (1 - np.exp(-land / 5)) + 0.035 * np.minimum(land, 400) * smoothstep(40, 110, z)
    ground += 0.25 * smoothstep(0, 8, land) * fractal(x / 14, z / 14, 3, 13)
    knoll = 17 * np.exp(-(((x + 52) / 62) ** 2 + ((z - 178) / 60) ** 2))
    behind = smoothstep(170, 900, z) * smoothstep(0, 160, land)
    rolling = _where(behind > 0, lambda a, b: fractal(a / 420 + 3.3, b / 420, 4, 14), x, z)
    hills = 110 * behind * (0.55 + 0.75 * rolling)
    hills += 26 * smoothstep(0, 60, land) * np.exp(-(((x - 165) / 70) ** 2 + ((z - 275) / 70) ** 2))
    total = ground + knoll * smoothstep(0, 40, land) + np.maximum(hills, 0)
    total += _where(z > 1300, lambda a, b: mountains(a, b, octaves), x, z)
    return np.where(s > 0, total, np.maximum(0.3 * s, -4.0)).astype(np.float32)


def mountains(x: Array, z: Array, octaves: int) -> Array:
    """Give the height that the far mountains add."""
    wide = 0.5 + 0.5 * gradient_noise(x / 2600 + 0.37, z / 5200 + 0.2, 15)
    crest = ridged(x / 2300 + 0.4, z / 2300 + 0.15, octaves, 16)
    rise = smoothstep(1300, 5200, z)
    return 1900 * rise * (0.25 + wide) * np.clip(crest - 0.12, 0, None) * 0.9


def wood(x: Array, z: Array) -> Array:
    """Say where the hills are wooded, from 0 to 1."""
    patches = fractal(x / 130 + 7, z / 190, 3, 17) + 0.25 * smoothstep(300, 1500, z)
    return smoothstep(-0.06, 0.04, patches) * smoothstep(180, 300, z)


def surface(x: Array, z: Array) -> Array:
    """Give the height with the crowns of distant woods on it."""
    x, z = np.broadcast_arrays(x, z)
    ground = height(x, z)
    return ground + _where((ground > 0.5) & (z > 180), _crowns, x, z)


def _crowns(x: Array, z: Array) -> Array:
    """Give the height of the woods over the ground."""
    bumps = np.abs(gradient_noise(x / 5.5, z / 5.5, 18)) + 0.5 * gradient_noise(x / 21, z / 21, 19)
    return wood(x, z) * (9 - 6 * bumps)


class View:
    """The ground as the camera sees it, one search per column of pixels.

    Every column of pixels is an upright plane through the eye. Along it the ground is sampled
    at growing distances; the highest angle met so far says which distance a pixel shows.
    """

    def __init__(self, camera: Camera, samples: int = 2600):
        self.camera = camera
        self.z = np.geomspace(NEAREST, FARTHEST, samples).astype(np.float32)
        across = (np.arange(camera.width // 2) * 2 + 0.5 - camera.width / 2) / camera.focal
        self.across = across.astype(np.float32)
        self.ground = surface(self.across[None, :] * self.z[:, None], self.z[:, None])

    def visible(self, flip: bool = False) -> tuple[Array, Array, Array]:
        """Give rows, columns and distances of all pixels that show land."""
        camera, z = self.camera, self.z[:, None]
        land = self.ground > 0.0
        eye = -camera.eye if flip else camera.eye
        angle = np.where(land, (self.ground - eye) / z, -1e9)
        if flip:  # The near bank is behind all the water there is to mirror anything.
            angle[(np.cumsum(~land, axis=0) == 0) | (z < 60)] = -1e9
        else:
            angle = np.where(land, angle, -eye / z)
        angle = np.maximum.accumulate(angle, axis=0)
        distance = np.full((camera.height, camera.width // 2), np.inf, np.float32)
        rows = np.arange(camera.height)
        sight = (
            (rows - camera.horizon) / camera.focal
            if flip
            else (camera.horizon - rows) / camera.focal
        )
        for column in range(camera.width // 2):
            distance[:, column] = self._search(angle[:, column], land[:, column], sight, flip)
        distance = np.repeat(distance, 2, axis=1)
        row, column = np.nonzero(np.isfinite(distance))
        return row, column, distance[row, column]

    def _search(self, angle: Array, land: Array, sight: Array, flip: bool) -> Array:
        """Find the distance of the first sample at least as high as each line of sight."""
        index = np.searchsorted(angle, sight)
        hit = np.minimum(index, len(self.z) - 1)
        previous = np.maximum(hit - 1, 0)
        gap = np.maximum(angle[hit] - angle[previous], 1e-9)
        part = np.clip((sight - angle[previous]) / gap, 0, 1)
        z = mix(self.z[previous], self.z[hit], part)
        found = (index < len(self.z)) & land[hit]
        if flip:
            found &= (index > 0) & (sight > 0)
        return np.where(found, z, np.inf)


def colors(points: Array, shadows: ShadowMap, pixel: float) -> Array:
    """Light the ground at world points (N, 3); ``pixel`` is the angle that a pixel covers."""
    x, _, z = points.T
    step = np.maximum(0.12, 1.2 * z * pixel)
    here = surface(x, z)
    slope_x, slope_z = (surface(x + step, z) - here) / step, (surface(x, z + step) - here) / step
    normal = np.stack([-slope_x, np.ones_like(x), -slope_z], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    sun = np.where(z < 300, shadows.light(points, bias=0.5), 1.0) * _hill_light(points)
    clouded = smoothstep(-0.35, 0.25, fractal(x / 330 + 0.7, z / 700 + 0.2, 2, 28))
    sun = sun * mix(1.0, 0.35 + 0.65 * clouded, smoothstep(140, 260, z))
    woods = wood(x, z)
    occlusion = mix(1.0, 0.45 + 0.55 * np.clip(normal[:, 1], 0, 1), woods)
    return haze(shade(_albedo(x, here, z, normal, woods), normal, sun, occlusion), points)


def _hill_light(points: Array) -> Array:
    """Give the part of the sun that hills between leave, by a few steps toward it."""
    x, y, z = points.T
    lit = np.ones_like(x)
    for distance in (25.0, 60.0, 130.0, 260.0, 520.0, 1000.0, 1800.0):
        toward = distance * SUN
        above = y + 6 + toward[1] - height(x + toward[0], z + toward[2], 5)
        lit = np.minimum(lit, np.clip(1.0 + above / (0.06 * distance), 0.0, 1.0))
    return lit


def _path(x: Array, z: Array) -> Array:
    """Say where the village's paths run: along the shore, and from the jetty to the church."""
    wobble = 0.5 * gradient_noise(x / 3, z / 4, 27)
    along = np.abs(shore(x, z) - 4.6 + wobble) - 0.75
    up = np.maximum(np.abs(x + 2.3 - 1.6 * np.sin(z / 8.0) + wobble) - 0.8, z - 165)
    village = smoothstep(70, 76, z) * smoothstep(190, 175, z) * smoothstep(48, 40, np.abs(x))
    return village * smoothstep(0.35, -0.15, np.minimum(along, up))


def _albedo(x: Array, y: Array, z: Array, normal: Array, woods: Array) -> Array:
    """Color the ground: meadows, fields, woods, rock, snow and a strip of sand."""

    def tint(*value: float) -> Array:
        return np.array(value, np.float32)

    blend = (0.5 + 0.5 * fractal(x / 17, z / 26, 4, 21))[:, None]
    color = mix(tint(0.075, 0.125, 0.03), tint(0.205, 0.225, 0.055), np.clip(blend, 0, 1))
    tufts = _where(z < 260, lambda a, b: fractal(a / 1.5, b / 3.0, 3, 26), x, z)
    color = color * (1.0 + 0.45 * tufts)[:, None]
    color = mix(color, tint(0.33, 0.27, 0.18), _path(x, z)[:, None])
    # Fields in strips along the slopes behind the lake.
    u, v = (0.86 * x + 0.5 * z) / 46, (0.86 * z - 0.5 * x) / 120
    u = u + 0.25 * gradient_noise(u / 3, v, 24)
    cell = np.floor(u) * 7 + np.floor(v + 0.37 * np.floor(u)) * 13
    kinds = np.array(
        [[0.34, 0.28, 0.08], [0.13, 0.20, 0.05], [0.26, 0.25, 0.07], [0.20, 0.13, 0.07]]
    )
    field = kinds.astype(np.float32)[np.mod(cell * 2.7, 4).astype(int)]
    field = field * (0.85 + 0.15 * np.sin(u * 60))[:, None]
    color = mix(color, field, (0.75 * smoothstep(150, 210, z) * smoothstep(1.2, 5, y))[:, None])
    leaf = mix(tint(0.035, 0.07, 0.025), tint(0.11, 0.115, 0.03), np.clip(blend, 0, 1))
    color = mix(color, leaf, woods[:, None])
    stony = smoothstep(330, 640, y + 120 * fractal(x / 300, z / 300, 3, 22)) * smoothstep(
        2500, 4000, z
    )
    color = mix(color, tint(0.20, 0.19, 0.19), stony[:, None])
    snow = smoothstep(760, 930, y + 150 * fractal(x / 380, z / 380, 4, 23))
    snow = snow * smoothstep(0.45, 0.70, normal[:, 1])
    color = mix(color, tint(0.85, 0.88, 0.92), snow[:, None])
    sand = smoothstep(0.55, 0.12, y + 0.15 * gradient_noise(x / 2, z / 2, 25)) * smoothstep(
        900, 300, z
    )
    return mix(color, tint(0.36, 0.29, 0.18), sand[:, None])
