"""Houses, a church, a jetty and a boat."""

import dataclasses

import numpy as np

from examples_art.common import Array, gradient_noise
from examples_art.faces import Place, box, face, plain, planks, tiles, tint, walls
from examples_art.scene import Things, things


@dataclasses.dataclass(frozen=True, kw_only=True)
class House:
    """The measures (meters) and colors of a house whose ridge runs along its width."""

    width: float = 10.0
    depth: float = 7.5
    floors: int = 2
    pitch: float = 3.8
    wall: tuple = (0.66, 0.60, 0.48)
    roof: tuple = (0.38, 0.12, 0.065)
    shutters: tuple = (0.07, 0.19, 0.17)
    timber: bool = False
    chimney: float = 0.25


def house(place: Place, plan: House) -> list[Things]:
    """Build a house with a gabled roof and a chimney."""
    w, d, h, p = plan.width / 2, plan.depth / 2, 0.6 + 2.7 * plan.floors, plan.pitch
    long_side = walls(plan.wall, plan.shutters, plan.floors, plan.timber, True, True)
    end = walls(plan.wall, plan.shutters, plan.floors, plan.timber, False, False)
    peak = walls(plan.wall, plan.shutters, 0, plan.timber, False, False)
    parts = []
    for side in (-1, 1):
        x, z = side * w, side * d
        parts.append(face(place, [(-x, 0, -z), (x, 0, -z), (-x, h, -z)], long_side))
        parts.append(face(place, [(x, 0, -z), (x, 0, z), (x, h, -z)], end))
        parts.append(face(place, [(x, h, -z), (x, h, z), (x, h + p, -z)], peak, taper=0.0))
        parts += _roof_half(place, plan, w, d, h, side)
    parts += box(
        place,
        (plan.chimney * w * 2 - 0.45, h + p * 0.5, 0.4),
        (0.9, p * 0.5 + 1.3, 0.7),
        plain((0.26, 0.14, 0.10)),
    )
    return parts


def _roof_half(place: Place, plan: House, w: float, d: float, h: float, side: int) -> list[Things]:
    """Lay one slope of a roof, with eaves that stand out, and its pale boards."""
    out, over, p = 0.55, 0.45, plan.pitch
    low, high = h - out * p / d + 0.12, h + p + 0.12
    edge, z = side * (w + over), -side * (d + out)
    boards = plain((0.50, 0.46, 0.40))
    parts = [
        face(place, [(-edge, low, z), (edge, low, z), (-edge, high, 0)], tiles(plan.roof)),
        face(place, [(-edge, low - 0.2, z), (edge, low - 0.2, z), (-edge, low, z)], boards),
    ]
    for x in (-edge, edge):
        foot, ridge = (x, low - 0.22, z), (x, high - 0.22, 0)
        parts.append(face(place, [foot, ridge, (x, low, z)], boards))
        parts.append(face(place, [ridge, foot, (x, high, 0)], boards))
    return parts


def church(place: Place) -> list[Things]:
    """Build a small church: a nave, and a tower with a pointed spire."""
    white, slate = (0.72, 0.68, 0.60), (0.115, 0.125, 0.15)
    nave = House(width=13, depth=7, floors=2, pitch=5.0, wall=white, roof=slate, shutters=white)
    parts = house(place, nave)
    s, h, spire = 2.3, 15.5, 10.5
    x = -7.5
    parts += box(place, (x - s, 0, -s), (2 * s, h, 2 * s), _tower_wall(white))
    edge = s + 0.35
    ring = [(x - edge, -edge), (x + edge, -edge), (x + edge, edge), (x - edge, edge)]
    for (ax, az), (bx, bz) in zip(ring, ring[1:] + ring[:1], strict=True):
        # Each side leans to the point above the middle of the tower.
        middle = np.array([(ax + bx) / 2, h, (az + bz) / 2])
        lean = np.array([x, h + spire, 0]) - middle
        corners = [(ax, h, az), (bx, h, bz), np.array([ax, h, az]) + lean]
        parts.append(face(place, corners, tiles(slate), taper=0.0))
    return parts


def _tower_wall(color: tuple):
    """Paint the tower: a belfry opening and a clock."""

    def paint(u: Array, v: Array, width: float, height: float) -> tuple[Array, Array]:
        albedo = tint(*color) * (1.0 + 0.08 * gradient_noise(u / 0.9, v / 1.4, 54))[:, None]
        middle = u - width / 2
        arch = (
            (np.abs(middle) < 0.55)
            & (v > 11.9)
            & (np.hypot(middle, np.maximum(v - 13.4, 0)) < 0.55)
        )
        albedo[arch] = (0.05, 0.045, 0.045)
        clock = np.hypot(middle, v - 10.2)
        albedo[clock < 0.95] = (0.12, 0.10, 0.08)
        albedo[clock < 0.78] = (0.70, 0.62, 0.42)
        hands = (np.abs(middle) < 0.09) & (np.abs(v - 10.45) < 0.30)
        hands |= (np.abs(v - 10.2) < 0.09) & (np.abs(middle - 0.2) < 0.26)
        albedo[hands] = (0.05, 0.045, 0.04)
        albedo[(np.abs(v - 14.9) < 0.16) | (np.abs(v - 8.3) < 0.13)] *= 0.62
        return albedo, np.ones(len(u))

    return paint


def jetty(x: float, z: float, length: float) -> list[Things]:
    """Build a landing stage on posts that runs from (x, z) toward the viewer."""
    place = Place(x, z - length, np.pi / 2 + 0.25, 0.0)
    parts = box(place, (-length, 1.1, -1.0), (length + 5.0, 0.16, 2.0), planks)
    for along in np.arange(-length, 0.1, 2.4):
        for side in (-0.95, 0.85):
            parts += box(place, (along, -1.0, side), (0.2, 2.9, 0.2), plain((0.17, 0.13, 0.10)))
    return parts


def boat(x: float, z: float, turn: float, color: tuple) -> list[Things]:
    """Build a rowing boat afloat at (x, z)."""
    place = Place(x, z, turn, 0.0)
    samples = int(5.4 / (0.6 * place.spacing))
    t, s = (
        a.ravel() for a in np.meshgrid(np.linspace(-1, 1, samples), np.linspace(0, 1, samples // 5))
    )
    parts = []
    for side in (-1, 1):
        beam = 0.92 * (1 - np.abs(t) ** 2.6) * (0.62 + 0.38 * s)
        height = -0.1 + s * (0.62 + 0.30 * t**2)
        local = np.stack([2.7 * t * (0.94 + 0.06 * s), height + 0.5, side * beam], 1)
        for inside in (False, True):
            normal = np.stack(
                [np.zeros_like(t), np.full_like(t, -0.15), np.full_like(t, float(side))], 1
            )
            albedo = np.where((s > 0.82)[:, None], tint(0.66, 0.62, 0.52), tint(*color))
            if inside:
                normal, albedo = -normal, np.broadcast_to(tint(0.24, 0.17, 0.11), albedo.shape)
                local = local - np.array([0, 0, 0.05 * side])
            parts.append(
                things(place.world(local), place.rotate(normal), albedo, 0.5 * place.spacing, 0.8)
            )
    for bench in (-1.1, 0.3):
        parts += box(place, (bench, 0.82, -0.75), (0.35, 0.06, 1.5), planks)
    return parts
