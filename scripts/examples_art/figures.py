"""Balloons, trees and a castle for the engraving, as rounded forms with lines to follow."""

import numpy as np

from examples_art.common import Array, fractal, mix, rgb
from examples_art.plate import Plate, shade


def _profile(v: Array) -> Array:
    """Give a balloon's half-width at height ``v``: a ball above 0, drawn in to its mouth below."""
    ball = np.sqrt(np.clip(1 - v * v, 0, 1))
    return np.where(v < 0, ball, np.cos(np.clip(v / 1.46, 0, 1) * 1.36) ** 0.92)


def balloon(plate: Plate, cx: float, cy: float, radius: float, colors: tuple, gores: int) -> None:
    """Hang a striped balloon with its basket in the sky, seen a little from below."""
    u, v = (plate.x - cx) / radius, (plate.y - cy) / radius
    half = _profile(v)
    mask = (np.abs(u) < half) & (v > -1) & (v < 1.46)
    part = np.clip(u / np.maximum(half, 1e-3), -1, 1)
    facing = np.sqrt(1 - part * part)
    turn = np.arcsin(part) + 0.22
    bulge = (np.mod(turn * gores / np.pi, 1.0) - 0.5) * 0.55
    angle = np.arcsin(part) + bulge
    slope = np.gradient(half[:, 0] * radius)[:, None]
    normal = np.stack([np.sin(angle), np.clip(-slope, -3, 3) + 0 * u, np.cos(angle)], -1)
    stripe = np.floor(turn * gores / np.pi).astype(int)
    band = (np.abs(v + 0.05 + 0.30 * half * facing) < 0.11) & (radius > 60)
    wash = np.stack([rgb(code) for code in colors])[np.mod(stripe, len(colors))]
    wash = np.where(band[..., None], rgb("#46606b"), wash)
    local = np.where(np.mod(stripe, 2) == 0, 0.13, 0.0) + 0.22 * band
    latitude = plate.y + 0.40 * radius * half * facing
    meridian = np.where(mask, turn, 2 * u) * 100
    plate.add(mask, 0.92 * shade(normal) + local, latitude, wash, meridian)
    _seams(plate, cx, cy, radius, gores)
    _basket(plate, cx, cy + 1.44 * radius, cy + 1.92 * radius, 0.145 * radius)


def _seams(plate: Plate, cx: float, cy: float, radius: float, gores: int) -> None:
    """Outline a balloon and the seams between its stripes."""
    side = np.linspace(-1, 1.44, 120)
    rows, width = cy + side * radius, _profile(side) * radius
    for sign in (-1, 1):
        plate.outline(np.stack([cx + sign * width, rows], 1), 1.1 + radius / 150)
    for k in range(-gores // 2, gores // 2 + 1):
        edge = k * np.pi / gores - 0.22
        if abs(edge) < 1.45:
            seam = np.stack([cx + np.sin(edge) * width, rows], 1)
            plate.outline(seam, 0.55 + radius / 400)


def _basket(plate: Plate, cx: float, mouth: float, top: float, half: float) -> None:
    """Hang a wicker basket on ropes."""
    for at in (-1.35, -0.5, 0.5, 1.35):
        plate.outline([(cx + at * half, mouth), (cx + 0.72 * at * half, top)], 0.7 + half / 45)
    u = (plate.x - cx) / half
    deep = 1.35 * half
    mask = (
        (np.abs(u) < 1 - 0.12 * (plate.y - top) / deep) & (plate.y > top) & (plate.y < top + deep)
    )
    normal = np.stack([u, 0 * u, np.sqrt(np.clip(1 - u * u, 0, 1))], -1)
    weave = plate.y + 0.3 * half * np.sqrt(np.clip(1 - u * u, 0, 1))
    plate.add(mask, 0.25 + 0.8 * shade(normal), weave, rgb("#a97b45"), plate.x)
    frame = [(-1, 0), (1, 0), (0.88, 1), (-0.88, 1), (-1, 0)]
    plate.outline([(cx + a * half, top + b * deep) for a, b in frame], 0.9 + half / 40)


def tree(plate: Plate, cx: float, foot: float, size: float, tone: float = 0.0) -> None:
    """Set a leafy tree, or with a small size a bush, on a hill."""
    rng, x, y = plate.rng, plate.x, plate.y
    trunk = (np.abs(x - cx) < 0.10 * size) & (y > foot - 0.8 * size) & (y < foot)
    plate.add(trunk, 0.85, x, rgb("#6b5138"))
    cy = foot - 1.35 * size
    u, v = (x - cx) / size, (y - cy) / (1.08 * size)
    turn = np.arctan2(v, u)
    edge = (
        1
        + 0.10 * np.sin(6 * turn + rng.uniform(0, 6))
        + 0.07 * np.sin(11 * turn + rng.uniform(0, 6))
    )
    distance = np.hypot(u, v) / edge
    lobes = 0.35 * fractal(x / (0.55 * size), y / (0.5 * size), 2, 104)
    normal = np.stack([u + lobes, v + lobes, np.sqrt(np.clip(1 - distance**2, 0, 1))], -1)
    wash = mix(rgb("#a3a262"), rgb("#5f6b48"), rng.random())
    mask = distance < 1
    plate.add(mask, 0.14 + tone + 0.9 * shade(normal), size * (distance + 0.8 * lobes), wash)
    around = np.linspace(0, 2 * np.pi, int(8 * size) + 20)
    wavy = np.interp(
        np.mod(around + np.pi, 2 * np.pi), np.linspace(0, 2 * np.pi, 720), _edge_of(edge, turn)
    )
    scallop = 1 + 0.035 * np.abs(np.sin(around * max(3.0, size * 0.45)))
    plate.outline(
        np.stack(
            [
                cx + size * wavy * scallop * np.cos(around),
                cy + 1.08 * size * wavy * scallop * np.sin(around),
            ],
            1,
        ),
        0.6 + size / 70,
    )


def _edge_of(edge: Array, turn: Array) -> Array:
    """Read the edge's radius at 720 angles from -pi to pi."""
    bins = ((turn + np.pi) / (2 * np.pi) * 719).astype(int).ravel()
    total = np.bincount(bins, edge.ravel(), 720)
    count = np.bincount(bins, minlength=720)
    known = np.nonzero(count)[0]
    return np.interp(np.arange(720), known, total[known] / count[known])


def _tower(plate: Plate, cx: float, foot: float, half: float, tall: float, roof: float) -> None:
    """Build a round tower with a pointed roof."""
    x, y = plate.x, plate.y
    top = foot - tall
    u = np.clip((x - cx) / half, -1, 1)
    round_ = np.sqrt(1 - u * u)
    normal = np.stack([u, 0 * u, round_], -1)
    mask = (np.abs(x - cx) < half) & (y > top) & (y < foot + 0.15 * half * round_)
    plate.add(mask, 0.06 + 0.95 * shade(normal), y + 0.3 * half * round_, rgb("#dcc8a0"), x)
    for k, side in ((0.3, -0.25), (0.62, 0.2)):
        slit = (np.abs(x - cx - side * half) < 0.09 * half + 0.5) & (
            np.abs(y - top - k * tall) < 0.055 * tall
        )
        plate.add(slit, 1.0, x, rgb("#4a4038"))
    plate.outline([(cx - half, foot), (cx - half, top)], 0.9)
    plate.outline([(cx + half, top), (cx + half, foot)], 1.1)
    wide = 1.28 * half * (y - top + roof) / roof
    w = np.clip((x - cx) / np.maximum(wide, 1e-3), -1, 1)
    cone = (np.abs(x - cx) < wide) & (y > top - roof) & (y < top + 0.25 * half * np.sqrt(1 - w * w))
    normal = np.stack([w, np.full_like(w, -0.35), np.sqrt(1 - w * w)], -1)
    plate.add(
        cone,
        0.22 + 0.95 * shade(normal),
        y + 0.25 * wide * np.sqrt(1 - w * w),
        rgb("#a6553f"),
        w * 100,
    )
    rim = np.linspace(-1, 1, 24)
    plate.outline([(cx - 1.28 * half, top), (cx, top - roof), (cx + 1.28 * half, top)], 1.1)
    plate.outline(
        np.stack([cx + 1.28 * half * rim, top + 0.25 * half * np.sqrt(1 - rim * rim)], 1), 1.1
    )


def castle(plate: Plate, cx: float, foot: float, s: float) -> None:
    """Build a castle of walls and towers."""
    x, y = plate.x, plate.y
    _tower(plate, cx + 4 * s, foot - 8 * s, 8 * s, 62 * s, 34 * s)
    wall = (
        (np.abs(x - cx) < 42 * s)
        & (y > foot - 30 * s + 4 * s * (np.mod((x - cx) / (3 * s), 2) < 1))
        & (y < foot + 2)
    )
    plate.add(wall, 0.26 + 0.05 * np.sign(x - cx), y, rgb("#d8c299"), x)
    gate = (
        (np.abs(x - cx + 12 * s) < 5 * s)
        & (y > foot - 12 * s - np.sqrt(np.clip(25 * s * s - (x - cx + 12 * s) ** 2, 0, None)))
        & (y < foot)
    )
    plate.add(gate, 1.0, x, rgb("#4a4038"))
    plate.outline([(cx - 42 * s, foot - 30 * s), (cx + 42 * s, foot - 30 * s)], 0.9)
    _tower(plate, cx - 40 * s, foot, 9 * s, 46 * s, 26 * s)
    _tower(plate, cx + 40 * s, foot + 2 * s, 10 * s, 50 * s, 30 * s)
    _tower(plate, cx + 14 * s, foot + 1 * s, 6 * s, 40 * s, 22 * s)
