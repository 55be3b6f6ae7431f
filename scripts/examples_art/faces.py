"""Flat faces of buildings, sampled as finely as the picture needs, and their paints."""

import dataclasses

import numpy as np

from examples_art import terrain
from examples_art.common import Array, gradient_noise, mix, smoothstep
from examples_art.scene import Things, things


def tint(*value: float) -> Array:
    return np.array(value, np.float32)


def scatter(a: Array, b: Array) -> Array:
    """Give each pair of whole numbers its own number in [0, 1)."""
    return np.mod(np.abs(np.sin(a * 127.1 + b * 311.7)) * 43758.5453, 1.0)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a building stands: local x and z turn about the upright axis; meters, radians."""

    x: float
    z: float
    turn: float
    sink: float = 0.3

    def world(self, local: Array) -> Array:
        """Move local points (N, 3) to the world, onto the ground."""
        ground = terrain.height(np.float32([self.x]), np.float32([self.z]))[0] - self.sink
        return self.rotate(local) + np.array([self.x, max(ground, -0.5), self.z])

    def rotate(self, local: Array) -> Array:
        """Turn local vectors (N, 3) into the world's directions."""
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        x, y, z = local.T
        return np.stack([cosine * x + sine * z, y, cosine * z - sine * x], 1)

    @property
    def spacing(self) -> float:
        """The distance between samples that leaves no gaps in the picture."""
        return 0.00045 * self.z


def face(place: Place, corners: list, paint, taper: float = 1.0) -> Things:
    """Sample a face from three corners (origin, end of u, end of v); ``taper`` narrows its top.

    ``paint(u, v, width, height)`` gives albedo (N, 3) and occlusion (N,) at meters from the origin.
    """
    origin, right, top = (np.array(corner, np.float64) for corner in corners)
    along, upward = right - origin, top - origin
    width, height = np.linalg.norm(along), np.linalg.norm(upward)
    s, t = (np.arange(0, 1 + 1e-9, place.spacing / side) for side in (width, height))
    s, t = (grid.ravel() for grid in np.meshgrid(s, t))
    narrow = 0.5 + (s - 0.5) * (1 - (1 - taper) * t)
    local = origin + narrow[:, None] * along + t[:, None] * upward
    normal = np.cross(upward, along)
    albedo, occlusion = paint(narrow * width, t * height, width, height)
    facing = place.rotate((normal / np.linalg.norm(normal))[None])
    return things(place.world(local), facing, albedo, 0.6 * place.spacing, occlusion)


def plain(color: tuple):
    """Paint a face in one color with slight stains."""

    def paint(u: Array, v: Array, width: float, height: float) -> tuple[Array, Array]:
        stain = 1.0 + 0.10 * gradient_noise(u / 0.7, v / 0.9, 51)
        return tint(*color) * stain[:, None], np.ones(len(u))

    return paint


def walls(color: tuple, shutters: tuple, floors: int, timber: bool, door: bool, eaves: bool):
    """Paint a wall with windows and shutters, if asked with timber, a door, the eaves' shade."""

    def paint(u: Array, v: Array, width: float, height: float) -> tuple[Array, Array]:
        stain = 1.0 + 0.07 * gradient_noise(u / 1.1, v / 0.8, 52) - 0.25 * smoothstep(0.9, 0.2, v)
        albedo = tint(*color) * stain[:, None]
        if timber:
            post = np.abs(np.mod(u, 1.75) - 0.875) > 0.80
            beam = (np.abs(np.mod(v, 2.7) - 2.6) < 0.10) | (v > height - 0.15)
            brace = np.abs(np.mod(u + v * 0.62, 3.5) - 1.0) < 0.09
            albedo[(post | beam | brace) & (v > 0.5)] = (0.085, 0.055, 0.04)
        columns = max(round(width / 2.7), 1)
        across = np.mod(u, width / columns) - width / columns / 2
        for floor in range(floors):
            _window(
                albedo, across, v - 1.75 - 2.7 * floor, shutters, door and floor == 0, u, v, width
            )
        occlusion = 0.62 + 0.38 * smoothstep(0.0, 1.2, height - v) if eaves else np.ones(len(u))
        return albedo, occlusion

    return paint


def _window(
    albedo: Array,
    across: Array,
    up: Array,
    shutters: tuple,
    door: bool,
    u: Array,
    v: Array,
    width: float,
) -> None:
    """Paint one row of windows, and a door in its middle, into a wall's colors."""
    wide, tall = 0.48, 0.66
    leaf = (np.abs(np.abs(across) - wide - 0.27) < 0.25) & (np.abs(up) < tall)
    albedo[leaf] = tint(*shutters) * (0.8 + 0.25 * (np.mod(up[leaf] * 9, 1) > 0.4))[:, None]
    frame = (np.abs(across) < wide) & (np.abs(up) < tall)
    albedo[frame] = (0.62, 0.60, 0.55)
    cross = (np.abs(across) > 0.045) & (np.abs(up - 0.12) > 0.045)
    glass = (np.abs(across) < wide - 0.08) & (np.abs(up) < tall - 0.08) & cross
    shine = smoothstep(-tall, tall, up[glass] + 0.8 * across[glass])[:, None]
    albedo[glass] = mix(tint(0.025, 0.03, 0.04), tint(0.12, 0.16, 0.21), shine)
    box = (np.abs(across) < wide + 0.05) & (np.abs(up + tall + 0.09) < 0.10)
    albedo[box] = mix(
        tint(0.42, 0.05, 0.05),
        tint(0.10, 0.16, 0.04),
        scatter(np.floor(u[box] * 9), 1.0)[:, None] > 0.45,
    )
    if door:
        entry = (np.abs(u - width / 2) < 0.62) & (v < 2.5)
        albedo[entry] = (0.58, 0.55, 0.48)
        albedo[(np.abs(u - width / 2) < 0.5) & (v < 2.4)] = (0.13, 0.07, 0.045)


def tiles(color: tuple):
    """Paint a roof in rows of tiles, each a little different."""

    def paint(u: Array, v: Array, width: float, height: float) -> tuple[Array, Array]:
        row = np.floor(v / 0.30)
        column = np.floor(u / 0.24 + 0.5 * np.mod(row, 2))
        tone = 0.74 + 0.42 * scatter(column, row) + 0.18 * gradient_noise(u / 1.6, v / 1.6, 53)
        tone *= 0.72 + 0.28 * smoothstep(0.0, 0.35, np.mod(v / 0.30, 1.0))
        return tint(*color) * tone[:, None], np.ones(len(u))

    return paint


def planks(u: Array, v: Array, width: float, height: float) -> tuple[Array, Array]:
    """Paint weathered boards across the u direction."""
    board = np.floor(u / 0.32)
    tone = 0.75 + 0.4 * scatter(board, 3.0) - 0.5 * (np.mod(u / 0.32, 1.0) < 0.10)
    return tint(0.30, 0.245, 0.185) * tone[:, None], np.ones(len(u))


def box(place: Place, corner: tuple, size: tuple, paint) -> list[Things]:
    """Build a box from its lowest local corner and its three sizes."""
    x, y, z = corner
    a, b, c = size
    return [
        face(place, [(x, y, z), (x + a, y, z), (x, y + b, z)], paint),
        face(place, [(x + a, y, z + c), (x, y, z + c), (x + a, y + b, z + c)], paint),
        face(place, [(x + a, y, z), (x + a, y, z + c), (x + a, y + b, z)], paint),
        face(place, [(x, y, z + c), (x, y, z), (x, y + b, z + c)], paint),
        face(place, [(x, y + b, z), (x + a, y + b, z), (x, y + b, z + c)], paint),
    ]
