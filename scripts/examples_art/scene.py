"""Camera, light, depth-tested drawing of points, and the shadow map of the landscape.

World coordinates are meters: x to the right, y up from the water's surface, z into the picture.
The camera looks level, with a shifted lens, so that upright things stay upright.
"""

import dataclasses

import numpy as np

from examples_art.common import Array, mix, smoothstep

SUN = np.array([-0.80, 0.50, -0.28], np.float32) / np.linalg.norm([0.80, 0.50, 0.28])
SUNLIGHT = np.array([3.6, 2.75, 1.75], np.float32)
SKYLIGHT = np.array([0.42, 0.57, 0.84], np.float32)
BOUNCE = np.array([0.30, 0.29, 0.20], np.float32)
# Where the sun stands in the picture: rather further into it than the light that shapes the
# forms comes from, as painters do, so that the sides turned to us are not all dark.
SUN_IN_PICTURE = (-0.26, 0.235)


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera at (0, eye, 0); sizes in pixels of the oversampled picture."""

    height: int
    width: int
    horizon: float
    focal: float
    eye: float = 7.0

    def project(self, points: Array, flip: bool = False) -> tuple[Array, Array]:
        """Give rows and columns of world points (N, 3); ``flip`` mirrors them in the water."""
        y = -points[:, 1] if flip else points[:, 1]
        rows = self.horizon - self.focal * (y - self.eye) / points[:, 2]
        return rows, self.width / 2 + self.focal * points[:, 0] / points[:, 2]


class Frame:
    """A picture in linear light with the depth of every pixel."""

    def __init__(self, camera: Camera, flip: bool = False):
        self.camera, self.flip = camera, flip
        self.color = np.zeros((camera.height, camera.width, 3), np.float32)
        self.depth = np.full((camera.height, camera.width), np.inf, np.float32)

    def draw(self, points: Array, colors: Array, radii: Array | float = 0.0) -> None:
        """Draw world points (N, 3) as discs of ``radii`` meters, nearest on top."""
        if self.flip:
            keep = points[:, 1] > 0.0
            points, colors = points[keep], colors[keep]
            radii = radii[keep] if np.ndim(radii) else radii
        rows, columns = self.camera.project(points, self.flip)
        pixels = np.broadcast_to(radii * self.camera.focal / points[:, 2], rows.shape)
        size = np.clip(np.round(pixels), 0, 9).astype(int)
        order = np.argsort(-points[:, 2], kind="stable")
        row = np.round(rows[order]).astype(np.int32)
        column = np.round(columns[order]).astype(np.int32)
        depth, color, size = points[order, 2], colors[order], size[order]
        for dy, dx, least in _disc_offsets(int(size.max(initial=0))):
            chosen = size >= least
            self._fragments(row[chosen] + dy, column[chosen] + dx, depth[chosen], color[chosen])

    def _fragments(self, row: Array, column: Array, depth: Array, color: Array) -> None:
        """Write single pixels, sorted from far to near, where nothing nearer stands."""
        inside = (row >= 0) & (row < self.depth.shape[0])
        inside &= (column >= 0) & (column < self.depth.shape[1])
        row, column, depth, color = row[inside], column[inside], depth[inside], color[inside]
        near = depth < self.depth[row, column]
        row, column = row[near], column[near]
        # An index that repeats keeps its last value, here the nearest.
        self.depth[row, column] = depth[near]
        self.color[row, column] = color[near]


def _disc_offsets(largest: int) -> list[tuple[int, int, int]]:
    """List pixel offsets (row, column) with the least disc radius that covers each."""
    span = range(-largest, largest + 1)
    reach = {(y, x): int(np.ceil(np.hypot(y, x) - 0.35)) for y in span for x in span}
    return [(y, x, least) for (y, x), least in reach.items() if least <= largest]


class ShadowMap:
    """Heights toward the sun of all that casts a shadow, on a grid across the light."""

    def __init__(self, cell: float = 0.3, size: int = 1400, centre: tuple = (0.0, 0.0, 90.0)):
        side = np.cross(SUN, [0.0, 1.0, 0.0])
        self.side = (side / np.linalg.norm(side)).astype(np.float32)
        self.up = np.cross(self.side, SUN).astype(np.float32)
        self.cell, self.size = cell, size
        self.centre = np.array(centre, np.float32)
        self.nearest = np.full((size, size), -1e9, np.float32)

    def _cells(self, points: Array) -> tuple[Array, Array, Array]:
        local = points - self.centre
        u = np.clip(local @ self.side / self.cell + self.size / 2, 0, self.size - 1)
        v = np.clip(local @ self.up / self.cell + self.size / 2, 0, self.size - 1)
        return u, v, local @ SUN

    def add(self, points: Array) -> None:
        """Let world points (N, 3) cast shadows."""
        u, v, height = self._cells(points)
        np.maximum.at(self.nearest, (v.astype(int), u.astype(int)), height)

    def light(self, points: Array, bias: float = 0.6, softness: int = 1) -> Array:
        """Give the part of the sun that reaches each point, in [0, 1]."""
        u, v, height = self._cells(points)
        lit = np.zeros(len(points), np.float32)
        span = range(-softness, softness + 1)
        for dv in span:
            for du in span:
                row = np.clip(v + dv, 0, self.size - 1).astype(int)
                column = np.clip(u + du, 0, self.size - 1).astype(int)
                lit += self.nearest[row, column] < height + bias
        return lit / (2 * softness + 1) ** 2


def shade(
    albedo: Array, normal: Array, sun: Array | float, occlusion: Array | float = 1.0
) -> Array:
    """Light a matt surface (N, 3): sun, blue sky from above, warm light from the ground."""
    facing = np.clip(normal @ SUN, 0.0, 1.0) * sun
    above = 0.5 + 0.5 * normal[:, 1]
    ambient = mix(BOUNCE, SKYLIGHT, above[:, None]) * np.reshape(occlusion, (-1, 1))
    return albedo * (facing[:, None] * SUNLIGHT + ambient)


def air_color(across: Array, upward: Array) -> Array:
    """Give the color of far air in directions (x / z, y / z): warm about the sun."""
    distance = np.hypot(across - SUN_IN_PICTURE[0], 1.3 * (upward - SUN_IN_PICTURE[1]))
    warm = np.exp(-((distance / 0.34) ** 2))[..., None]
    cool = np.array([0.60, 0.72, 0.88], np.float32)
    return mix(cool, np.array([1.25, 0.98, 0.70], np.float32), warm)


def haze(color: Array, points: Array) -> Array:
    """Fade colors (N, 3) of world points into the air with their distance."""
    x, y, z = points.T
    # Haze lies low: it thins out with height, and begins behind the lake.
    depth = np.maximum(z - 60.0, 0.0) * (0.45 + 0.55 * np.exp(-np.maximum(y, 0) / 220.0))
    amount = 0.93 * (1.0 - np.exp(-((depth / 2900.0) ** 0.85)))
    return mix(color, air_color(x / z, smoothstep(0, 900, y) * 0.1), amount[:, None])


@dataclasses.dataclass(frozen=True)
class Things:
    """Points on surfaces, not yet lit: what trees, houses and grass are made of.

    Attributes:
        points: World coordinates (N, 3), meters.
        normals: Unit directions (N, 3).
        albedo: Colors (N, 3), linear light.
        radii: Radii of the discs they are drawn as (N,), meters.
        occlusion: The part of the sky's light that reaches them (N,).
    """

    points: Array
    normals: Array
    albedo: Array
    radii: Array
    occlusion: Array

    @staticmethod
    def join(parts: list["Things"]) -> "Things":
        """Put several together."""
        names = [field.name for field in dataclasses.fields(Things)]
        return Things(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def lit(self, shadows: ShadowMap) -> Array:
        """Light the points and set them in the haze."""
        sun = shadows.light(self.points + 0.25 * self.normals, bias=0.55)
        return haze(shade(self.albedo, self.normals, sun, self.occlusion), self.points)


def things(
    points: Array,
    normals: Array,
    albedo: Array,
    radii: float | Array,
    occlusion: float | Array = 1.0,
) -> Things:
    """Make `Things` from arrays or single values, in float32."""
    count = len(points)
    normals = np.broadcast_to(np.asarray(normals, np.float32), (count, 3))
    length = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    return Things(
        np.asarray(points, np.float32),
        (normals / length).astype(np.float32),
        np.broadcast_to(np.asarray(albedo, np.float32), (count, 3)),
        np.broadcast_to(np.asarray(radii, np.float32), (count,)),
        np.broadcast_to(np.asarray(occlusion, np.float32), (count,)),
    )
