"""A pen drawing with a wash: balloons over a valley, hatched along the forms."""

import numpy as np

from examples_art.common import (
    Array,
    blur,
    fractal,
    gradient_noise,
    grid,
    mix,
    rgb,
    ridged,
    smoothstep,
)
from examples_art.figures import balloon, castle, tree
from examples_art.pen import Pen
from examples_art.plate import HEIGHT, INK, PAPER, WIDTH, Plate, contours, shade, turned


def _sky(plate: Plate) -> None:
    x, y = plate.x, plate.y
    level = y + 9 * fractal(x / 260, y / 120, 2, 101)
    tone = 0.44 - 0.46 * smoothstep(0, 430, y) + 0.16 * fractal(x / 190, y / 60, 3, 102)
    wash = mix(rgb("#93aab0"), rgb("#efdfbb"), smoothstep(0, 460, y)[..., None])
    plate.add(np.ones_like(x, bool), tone, level, wash)


def _cloud(plate: Plate, cx: float, base: float, size: float, puffs: int) -> None:
    """Heap round puffs on a flat base."""
    rng, x, y = plate.rng, plate.x, plate.y
    depth = np.full_like(x, -1e9)
    normal = np.zeros((*x.shape, 3), np.float32)
    radius_at = np.zeros_like(x)
    for _ in range(puffs):
        side = rng.uniform(-1, 1)
        r = size * rng.uniform(0.20, 0.36) * (1.15 - 0.6 * abs(side))
        px, py = cx + side * size, base - rng.uniform(0.0, 0.75) * size * (1 - abs(side) ** 1.5)
        u, v = (x - px) / r, (y - py) / r
        wavy = 1 + 0.05 * np.sin(7 * np.arctan2(v, u) + rng.uniform(0, 6))
        inside = 1 - (u * u + v * v) / wavy**2
        z = r * np.sqrt(np.clip(inside, 0, 1)) - 0.25 * py
        front = (inside > 0) & (z > depth)
        depth[front], radius_at[front] = z[front], (np.hypot(u, v) * r)[front]
        normal[front] = np.stack([u, v, np.sqrt(np.clip(inside, 0, 1))], -1)[front]
    mask = (depth > -1e8) & (y < base + 4 * gradient_noise(x / 22, 0.5, 103))
    tone = 0.72 * shade(normal) - 0.16 + 0.30 * smoothstep(base - 0.5 * size, base, y)
    wash = mix(rgb("#f6ecd6"), rgb("#c3b9ae"), np.clip(1.5 * tone, 0, 1)[..., None])
    plate.add(mask, tone, radius_at, wash)
    for curve in contours(mask, plate):
        plate.outline(curve, 0.95)


def _mountains(plate: Plate, peaks: tuple, tone: float, wash: Array) -> None:
    """Draw rocky peaks (x, y, steepness): light on the left, hatched down the right flanks."""
    x, y = plate.x, plate.y
    rough = 7 * fractal(x[0] / 23, 0.37 + 0 * x[0], 3, 106)[None, :]
    inside, middle, top = np.full_like(x, -1e9), np.zeros_like(x), np.zeros_like(x)
    for px, py, steep in peaks:
        depth = (y - py) / steep - np.abs(x - px) + rough
        inside, nearer = np.maximum(inside, depth), depth > inside
        middle, top = np.where(nearer, px, middle), np.where(nearer, py, top)
    below = y - top
    ridge = middle + (0.10 + 0.012 * below) * 14 * fractal(middle / 9, y / 26, 3, 107)
    side = np.sign(x - ridge)
    gully = fractal((x - 0.62 * side * y) / 17, y / 120 + middle, 3, 108)
    dark = np.where(side > 0, tone + 0.34 * gully, 0.06 + 0.55 * np.clip(gully - 0.12, 0, 1))
    dark -= 0.75 * smoothstep(20, 105, below)
    fall = x - 0.62 * side * y + 6 * fractal(x / 30, y / 40, 2, 109)
    pale = mix(
        wash, PAPER, (0.85 * smoothstep(20, 130, below) + 0.35 * (side < 0))[..., None].clip(0, 1)
    )
    plate.add(inside > 0, dark, fall, pale)
    crest = np.argmax(inside > 0, axis=0)
    plate.outline(np.stack([x[0], crest], 1), 1.0)
    for px, py, _ in peaks:
        rows = np.arange(int(py) + 2, int(py) + 80)
        bend = (0.10 + 0.012 * (rows - py)) * 14 * fractal(px / 9 + 0 * rows, rows / 26, 3, 107)
        plate.outline(np.stack([px + bend, rows], 1), 0.8)


def _hill(plate: Plate, crest: Array, seed: int, tone: float, wash: Array, depth: float) -> None:
    """Draw a rolling hill, hatched along its swells."""
    x, y = plate.x, plate.y
    below = y - crest[None, :]
    swell = 20 * fractal(x / 170 + seed, y / 80, 2, seed)
    normal = np.stack(
        [
            -0.16 * np.gradient(swell, axis=1) * 9,
            -0.75 - 0.5 * np.gradient(swell, axis=0),
            np.full_like(x, 0.7),
        ],
        -1,
    )
    dark = (
        shade(normal)
        + tone
        + 0.34 * smoothstep(0.15 * depth, depth, below)
        - 0.12 * smoothstep(14, 0, below)
    )
    color = np.clip(wash * (1.0 + 0.10 * fractal(x / 60, y / 30, 3, seed + 1))[..., None], 0, 1)
    plate.add(below > 0, dark, y - 0.55 * crest[None, :] + 0.9 * swell, color)
    plate.outline(np.stack([x[0], crest], 1), 1.1)


def _river(plate: Plate) -> None:
    """Let a river wind down the valley, paler than the hills."""
    x, y = plate.x, plate.y
    down = np.clip((y - 575) / (HEIGHT - 575), 0, 1)
    middle = 318 - 62 * np.sin(4.6 * down**0.8) * (0.35 + 0.65 * down) - 40 * down
    half = 2 + 44 * down**1.6
    mask = (np.abs(x - middle) < half) & (y > 575)
    tone = (
        0.06
        + 0.30 * smoothstep(0.55, 1.0, np.abs(x - middle) / half)
        + 0.15 * fractal(x / 40, y / 6, 2, 105)
    )
    plate.add(
        mask, tone, y + 3 * np.sin(x / 23), mix(rgb("#c9d3cc"), rgb("#8aa5a8"), down[..., None])
    )
    rows = np.arange(576, HEIGHT)
    for sign in (-1, 1):
        plate.outline(np.stack([(middle + sign * half)[rows, 0], rows], 1), 1.2)


# Peaks of the mountains: x, y, steepness.
PEAKS = (
    (28, 436, 0.90), (118, 398, 1.10), (205, 452, 0.90), (300, 425, 0.95),
    (372, 462, 0.80), (452, 405, 1.10), (545, 384, 1.20), (622, 428, 1.00),
)  # fmt: skip

# Trees about the castle, and at the near edge: x, foot, size.
CASTLE_TREES = (
    (396, 606, 10), (416, 612, 13), (598, 604, 14),
    (622, 610, 17), (440, 610, 9), (580, 610, 9),
)  # fmt: skip
NEAR_TREES = (
    (30, 705, 34), (92, 735, 26), (600, 690, 42), (536, 716, 27),
    (478, 738, 18), (640, 740, 34), (-4, 760, 34), (140, 757, 15),
)  # fmt: skip


def _compose(plate: Plate) -> None:
    """Put the picture together, from the sky to what is nearest."""
    _sky(plate)
    for cx, base, size, puffs in ((520, 285, 105, 26), (80, 420, 120, 26), (330, 455, 80, 18)):
        _cloud(plate, cx, base, size, puffs)
    _mountains(plate, PEAKS, 0.52, rgb("#9a9fac"))
    balloon(plate, 562, 150, 27, ("#b99a5a", "#e6d6ae"), 7)
    balloon(plate, 473, 190, 50, ("#5f7f86", "#e9d9b2"), 8)
    _far_hills(plate)
    _near_hills(plate)
    balloon(plate, 222, 190, 138, ("#b4503a", "#ecd9ae", "#cf9a4a", "#ecd9ae"), 12)


def _far_hills(plate: Plate) -> None:
    """Draw the hills as far as the castle's, with their trees."""
    rng, x = plate.rng, plate.x[0]
    crest = 540 + 16 * np.sin(x / 90 + 1.2) - 10 * fractal(x / 90, 0 * x, 2, 111)
    _hill(plate, crest, 112, 0.00, rgb("#c3bd93"), 70)
    for _ in range(26):
        at = rng.uniform(0, WIDTH)
        tree(plate, at, 552 + 16 * np.sin(at / 90 + 1.2) + rng.uniform(0, 12), rng.uniform(3, 6))
    crest = 598 - 52 * np.exp(-(((x - 520) / 105) ** 2)) + 12 * np.sin(x / 60)
    _hill(plate, crest, 113, 0.02, rgb("#b5b27c"), 90)
    castle(plate, 515, 564, 1.25)
    for at, foot, size in CASTLE_TREES:
        tree(plate, at, foot, size)


def _near_hills(plate: Plate) -> None:
    """Draw the fields, the river and the dark ground in front."""
    rng, x = plate.rng, plate.x[0]
    crest = 628 + 22 * np.sin(x / 75 + 2.4) + 5 * np.sin(x / 23)
    _hill(plate, crest, 115, 0.04, rgb("#c2a768"), 110)
    _river(plate)
    for _ in range(16):
        at, row = rng.uniform(0, WIDTH), rng.uniform(655, 690)
        if abs(at - 290) > 75:
            tree(plate, at, row, rng.uniform(8, 13))
    crest = 742 - 72 * smoothstep(190, 0, x) - 88 * smoothstep(380, 640, x) + 5 * np.sin(x / 17)
    _hill(plate, crest, 117, 0.16, rgb("#8f8a55"), 70)
    for at, foot, size in NEAR_TREES:
        tree(plate, at, foot, size, 0.24)


def _grass(plate: Plate, pen: Pen) -> None:
    """Flick short blades over the near ground."""
    rng = plate.rng
    for _ in range(900):
        x, y = rng.uniform(0, WIDTH), rng.uniform(560, HEIGHT - 1)
        green = plate.wash[int(y), int(x)]
        if green[1] < green[2] + 0.12 or rng.random() > (y - 540) / 200:
            continue
        tall = (y - 500) / 30 * rng.uniform(0.6, 1.4)
        lean = rng.normal(0.15, 0.35) * tall
        pen.line([(x, y), (x + 0.3 * lean, y - 0.6 * tall), (x + lean, y - tall)], 0.85, 0.5)


def _draw(plate: Plate, pen: Pen) -> None:
    """Hatch the plate in three directions, the later only in the shadows, and outline it."""
    tone, region = blur(plate.tone, 1.0), plate.region
    pen.hatch(plate.first, tone, region, least=0.13, spacing=(6.0, 2.9), width=(0.55, 1.25))
    pen.hatch(
        plate.second, tone, region, least=0.46, spacing=(5.2, 3.0), width=(0.5, 1.1), reach=110
    )
    third = turned(plate.first, -0.62)
    pen.hatch(third, tone, region, least=0.70, spacing=(4.6, 2.8), width=(0.5, 1.0), reach=80)
    for points, width, newest in plate.outlines:
        dense = np.linspace(0, len(points) - 1, max(len(points), 60))
        index = np.arange(len(points))
        points = np.stack([np.interp(dense, index, points[:, axis]) for axis in (0, 1)], 1)
        shown = plate.shown(points, newest)
        breaks = np.nonzero(np.diff(shown.astype(int)))[0] + 1
        for piece, seen in zip(np.split(points, breaks), np.split(shown, breaks), strict=True):
            if seen[0] and len(piece) > 2:
                pen.line(piece, width, 0.08)


def _paper(rng: np.random.Generator) -> Array:
    """Make warm paper with fibres and a faint unevenness."""
    y, x = grid(HEIGHT, WIDTH)
    tooth = blur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), 0.8)
    uneven = fractal(x / 170, y / 170, 4, 121)
    fibres = ridged(x / 34 + 0.4 * fractal(x / 50, y / 50, 2, 122), y / 60, 3, 123)
    value = 1.0 + 0.07 * tooth + 0.022 * uneven - 0.03 * np.clip(fibres - 0.72, 0, 1)
    return PAPER * value[..., None]


def _watercolor(plate: Plate, rng: np.random.Generator) -> Array:
    """Lay the wash: a little beside the lines, pooled at its edges, grainy; 1 is bare paper."""
    y, x = grid(HEIGHT, WIDTH)
    shift_x = 2.2 * fractal(x / 60, y / 60, 2, 124) + 1.0
    shift_y = 2.2 * fractal(x / 60 + 9, y / 60, 2, 125) + 0.8
    row = np.clip(np.round(y + shift_y), 0, HEIGHT - 1).astype(int)
    column = np.clip(np.round(x + shift_x), 0, WIDTH - 1).astype(int)
    wash = blur(plate.wash[row, column], 0.8)
    pooled = np.abs(wash - blur(wash, 4)).sum(-1)
    dense = 0.62 + 0.20 * fractal(x / 85, y / 85, 4, 126) + 0.9 * np.clip(pooled, 0, 0.25)
    dense += 0.07 * blur(rng.standard_normal(x.shape).astype(np.float32), 0.9) + 0.12 * plate.tone
    return 1.0 + (wash / np.array([0.97, 0.93, 0.85]) - 1.0) * np.clip(dense, 0.2, 1.1)[..., None]


def render(seed: int = 3) -> Array:
    """Draw the picture, (768, 640, 3) sRGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    plate, pen = Plate(rng), Pen(HEIGHT, WIDTH, rng)
    _compose(plate)
    _draw(plate, pen)
    _grass(plate, pen)
    ground = _paper(rng) * np.clip(_watercolor(plate, rng), 0, 1.06)
    ink = pen.ink() * (
        0.90 + 0.08 * blur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), 1.0)
    )
    return np.clip(mix(ground, INK, np.clip(ink, 0, 1)[..., None]), 0, 1).astype(np.float32)
