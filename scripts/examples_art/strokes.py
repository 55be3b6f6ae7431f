"""A painting in flowing strokes of thick paint: a gust of night wind over a field and a tree."""

import numpy as np

from examples_art.brush import Canvas
from examples_art.common import Array, blur, fractal, grid, mix, rgb, shrink
from examples_art.night import (
    EDDIES,
    HOUSE,
    LIGHT,
    MOON,
    ROOF,
    SKY,
    TREE,
    colors,
    directions,
    regions,
)

HEIGHT, WIDTH, OVERSAMPLING = 600, 768, 2


def render(seed: int = 2) -> Array:
    """Paint the picture, (600, 768, 3) sRGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    n = OVERSAMPLING
    row, column = grid(HEIGHT * n, WIDTH * n)
    x, y = (column + 0.5) / (WIDTH * n), (row + 0.5) / (WIDTH * n)
    region = regions(x, y)
    direction = directions(x, y, region)
    target = colors(x, y, region)
    canvas = Canvas(0.8 * blur(target, 6 * n), rng)
    detail = _detail(region, x, y)
    for width, length, cover, load in (
        (24, 130, 2.2, 1.4),
        (15, 105, 2.6, 1.1),
        (9.5, 80, 2.2, 1.0),
        (6, 54, 1.3, 1.0),
        (3.6, 30, 0.8, 1.1),
    ):
        likely = (
            np.ones_like(detail)
            if width > 12
            else np.clip(detail + (0.35 if width > 7 else 0.05), 0, 1)
        )
        count = int(cover * likely.mean() * region.size / (width * length * n * n * 0.6))
        starts = _draw_starts(rng, likely, count)
        _paint(canvas, starts, width * n, length * n, load, target, direction, region)
    _moon(canvas, x, y, direction)
    _flying_leaves(canvas, direction, region)
    for kind, width, length, count in (
        (HOUSE, 5.5, 17, 150),
        (ROOF, 5.5, 26, 130),
        (LIGHT, 4.2, 7, 26),
    ):
        starts = _draw_starts(rng, (region == kind).astype(np.float32), count)
        _paint(canvas, starts, width * n, length * n, 1.6, target, direction, region)
    return shrink(canvas.lit(), n)


def _draw_starts(rng: np.random.Generator, likely: Array, count: int) -> Array:
    """Draw positions (N, 2: x, y) where strokes are likely."""
    height, width = likely.shape
    tries = int(3 * count / max(float(likely.mean()), 1e-4)) + 100
    places = (rng.random((tries, 2)) * (width, height)).astype(np.float32)
    chance = likely[places[:, 1].astype(int), places[:, 0].astype(int)]
    return places[rng.random(tries) < chance][:count]


def _paint(
    canvas: Canvas,
    starts: Array,
    width: float,
    length: float,
    load: float,
    target: Array,
    direction: Array,
    region: Array,
) -> None:
    """Lay one layer of strokes in the target's colors, each a little off, as mixed by hand."""
    rng, count = canvas.rng, len(starts)
    at = starts[:, 1].astype(int), starts[:, 0].astype(int)
    width = width * rng.uniform(0.7, 1.25, count)
    length = length * rng.uniform(0.55, 1.3, count)
    course = canvas.trace(starts, length, direction, region)
    first = target[at] * rng.uniform(0.84, 1.14, (count, 1)) + rng.normal(0, 0.022, (count, 3))
    other = np.clip(
        starts + rng.normal(0, 14, starts.shape), 0, np.array(region.shape)[::-1] - 1
    ).astype(int)
    near = np.where(
        (region[other[:, 1], other[:, 0]] == region[at])[:, None],
        target[other[:, 1], other[:, 0]],
        first,
    )
    accents = np.stack([rgb(code) for code in ("#e3a33a", "#f3ead0", "#3a2a6b", "#2f8f9a")])
    accent = accents[rng.integers(0, 4, count)]
    second = np.where(rng.random((count, 1)) < 0.10, mix(near, accent, 0.55), near)
    canvas.stroke(course, width, np.clip(first, 0, 1), np.clip(second, 0, 1), load=load)


def _detail(region: Array, x: Array, y: Array) -> Array:
    """Say where small strokes are wanted: at borders, in the eddies and on small things."""
    border = (np.abs(np.diff(region, axis=0, prepend=region[:1])) > 0) | (
        np.abs(np.diff(region, axis=1, prepend=region[:, :1])) > 0
    )
    wanted = np.clip(14 * blur(border.astype(np.float32), 9), 0, 1)
    for cx, cy, radius, _ in EDDIES:
        wanted = np.maximum(
            wanted, np.exp(-(((x - cx) ** 2 + (y - cy) ** 2) / (0.6 * radius) ** 2))
        )
    wanted = np.maximum(wanted, np.exp(-((np.hypot(x - MOON[0], y - MOON[1]) / 0.09) ** 2)))
    return np.maximum(wanted, 0.8 * np.isin(region, (TREE, HOUSE, ROOF, LIGHT)))


def _moon(canvas: Canvas, x: Array, y: Array, direction: Array) -> None:
    """Paint the moon last, in short thick strokes round its middle."""
    disc = (np.hypot(x - MOON[0], y - MOON[1]) < MOON[2]).astype(int)
    rng, size = canvas.rng, x.shape[1]
    radius = MOON[2] * np.sqrt(rng.random(170)) * 0.97
    turn = rng.uniform(0, 2 * np.pi, 170)
    starts = np.stack([MOON[0] + radius * np.cos(turn), MOON[1] + radius * np.sin(turn)], 1) * size
    course = canvas.trace(starts, rng.uniform(26, 60, 170), direction, disc)
    pale = mix(
        rgb("#fff6d6"), rgb("#f4c64f"), (radius / MOON[2])[:, None] ** 2 * rng.random((170, 1))
    )
    canvas.stroke(course, rng.uniform(9, 18, 170), pale, np.clip(pale * 1.06, 0, 1), load=1.3)


def _flying_leaves(canvas: Canvas, direction: Array, region: Array) -> None:
    """Let the wind carry some leaves off to the right, and strew poppies over the field."""
    rng, width = canvas.rng, region.shape[1]
    count = 110
    spread = rng.random((count, 2)) ** (0.7, 1.0)
    starts = (np.array([0.80, 0.24]) + spread * np.array([0.19, 0.26])) * width
    starts = starts[region[starts[:, 1].astype(int), starts[:, 0].astype(int)] == SKY]
    count = len(starts)
    tint = np.stack([rgb(code) for code in ("#a9a23c", "#4f7a3a", "#2a5a3a")])[
        rng.integers(0, 3, count)
    ]
    anywhere = np.zeros_like(region)
    course = canvas.trace(starts, rng.uniform(14, 34, count), direction, anywhere)
    canvas.stroke(course, rng.uniform(4, 8, count), tint, 0.8 * tint, load=1.5)
    count = 150
    starts = np.stack([rng.random(count), 0.60 + 0.175 * rng.random(count) ** 0.7], 1)
    starts = starts[fractal(starts[:, 0] * 5, starts[:, 1] * 14, 2, 81) > 0.05]
    near = (starts[:, 1] - 0.50) / 0.28
    course = canvas.trace(starts * width, 30 * near + 8, direction, anywhere)
    red = np.stack([rgb("#c8321f"), rgb("#e2592b")])[rng.integers(0, 2, len(starts))]
    canvas.stroke(course, 10 * near + 3, red, 0.85 * red, load=1.6)
