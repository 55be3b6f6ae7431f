"""What the painting in strokes shows: regions, directions and colors of a windy night.

Positions are in parts of the picture's width, y down.
"""

import numpy as np

from examples_art.common import Array, fractal, mix, rgb, smoothstep

# Eddies of the wind: x, y, radius (of the width), and spin.
EDDIES = (
    (0.31, 0.26, 0.135, 1.0),
    (0.565, 0.42, 0.075, -0.8),
    (0.05, 0.44, 0.075, 0.7),
    (0.54, 0.065, 0.06, -0.6),
)
MOON = (0.80, 0.145, 0.044)
# Palettes, from dark to light.
NIGHT = ("#0b1640", "#13276b", "#1d4596", "#2f74b8", "#5fa9cc", "#b9dbd6", "#f2efd8")
WHEAT = ("#5a2f1c", "#96521d", "#c98220", "#e0a62f", "#f0cf6b", "#f8eab4")
HILLS = ("#0f1f3d", "#16394f", "#1f5a5e", "#3d7f70", "#7fa67a")
LEAVES = ("#0a1420", "#12302b", "#1f4d35", "#3f6b35", "#8a8f3a", "#d39b3c")
BARK = ("#150f14", "#3a2320", "#7a4a2a", "#c98a4a")

SKY, HILL, FIELD, TREE, HOUSE, ROOF, LIGHT = range(7)

# Clumps of leaves, swept to the right: x, y, length, thickness, tilt.
CLUMPS = (
    (0.760, 0.395, 0.105, 0.042, -0.20), (0.850, 0.340, 0.125, 0.040, -0.30),
    (0.765, 0.335, 0.075, 0.036, -0.35), (0.870, 0.415, 0.110, 0.030, -0.12),
    (0.930, 0.375, 0.095, 0.024, -0.24), (0.820, 0.452, 0.085, 0.022, -0.02),
    (0.845, 0.285, 0.080, 0.024, -0.42), (0.965, 0.310, 0.055, 0.016, -0.34),
    (0.960, 0.445, 0.055, 0.014, -0.05),
)  # fmt: skip


def _horizon(x: Array) -> Array:
    return 0.545 + 0.018 * np.sin(5.0 * x + 0.6) + 0.008 * np.sin(13 * x)


def _hilltop(x: Array) -> Array:
    """Give the crest of the hills behind the field."""
    near = (
        0.505
        - 0.075 * np.exp(-(((x - 0.20) / 0.17) ** 2))
        - 0.035 * np.exp(-(((x - 0.62) / 0.13) ** 2))
    )
    return near + 0.006 * np.sin(23 * x)


def regions(x: Array, y: Array) -> Array:
    """Say which thing each pixel shows."""
    region = np.where(y < _hilltop(x), SKY, np.where(y < _horizon(x), HILL, FIELD))
    region[_tree(x, y) > 0] = TREE
    u, v = x - 0.335, y - 0.550
    wall = (np.abs(u) < 0.034) & (v < 0.012) & (v > -0.030)
    roof = (
        (v <= -0.028)
        & (v > -0.060 + 0.55 * np.clip(np.abs(u) - 0.012, 0, None))
        & (np.abs(u) < 0.044)
    )
    region[wall] = HOUSE
    region[roof] = ROOF
    panes = (np.abs(np.abs(u + 0.001) - 0.016) < 0.0065) & (np.abs(v + 0.012) < 0.0085)
    region[panes] = LIGHT
    return region


def _spine(y: Array) -> Array:
    """Give the x of the bent trunk at a height."""
    up = np.clip((0.66 - y) / 0.30, 0, 1)
    return 0.672 + 0.035 * up + 0.085 * up**2.4 + 0.010 * np.sin(9 * up)


def _tree(x: Array, y: Array) -> Array:
    """Give a function that is positive on the wind-bent tree."""
    flare = (
        0.012
        + 0.020 * np.clip((y - 0.60) / 0.06, 0, 1) ** 2
        + 0.008 * np.clip((y - 0.42) / 0.2, 0, 1)
    )
    trunk = np.where((y > 0.36) & (y < 0.664), flare - np.abs(x - _spine(y)), -1)
    ragged = 0.016 * fractal(x * 9 - y * 4, y * 24, 3, 72)
    crown = np.full_like(x, -1.0)
    for cx, cy, wide, tall, tilt in CLUMPS:
        u, v = x - cx, y - cy - tilt * (x - cx)
        # Blunt on the side of the wind, drawn out on the other.
        u = np.where(u < 0, 1.5 * u, u)
        crown = np.maximum(crown, tall * (1 - np.hypot(u / wide, v / tall)))
    return np.maximum(trunk, crown + ragged)


def _bark(x: Array, y: Array) -> Array:
    """Say where the tree is trunk and not leaves."""
    return (np.abs(x - _spine(y)) < 0.03) & (y > 0.425)


def _stream(x: Array, y: Array) -> Array:
    """Give the wind's stream function: it is constant along the wind's paths."""
    stream = y * 0.55 + 0.020 * np.sin(7.5 * x + 3 * y) + 0.012 * np.sin(3.1 * x - 9 * y + 1)
    for cx, cy, radius, spin in (*EDDIES, (MOON[0], MOON[1], 0.14, 1.0)):
        far = ((x - cx) ** 2 + ((y - cy) * 1.12) ** 2) / radius**2
        stream = stream + spin * radius * 0.42 * np.log1p(1.0 / (0.06 + far))
    return stream


def directions(x: Array, y: Array, region: Array) -> Array:
    """Give the unit direction (x, y) of strokes everywhere."""
    dy, dx = np.gradient(_stream(x, y))
    wind = np.stack([dy, -dx], -1)
    furrow = np.stack([x - 0.30 + 0.16 * np.sin(16 * y + 6 * x), y - 0.46], -1)
    hill = np.stack([np.ones_like(x), np.gradient(_hilltop(x[0]), x[0, 1] - x[0, 0]) + 0 * x], -1)
    blown = np.stack([np.ones_like(x), -0.22 + 0.55 * np.sin(30 * y + 12 * x)], -1)
    bark = np.stack([np.gradient(_spine(y), axis=0), np.full_like(x, y[1, 0] - y[0, 0])], -1)
    trunk = _bark(x, y)
    flow = np.where((region == SKY)[..., None], wind, furrow)
    flow = np.where((region == HILL)[..., None], hill, flow)
    flow = np.where((region == TREE)[..., None], np.where(trunk[..., None], bark, blown), flow)
    flow = np.where(np.isin(region, (HOUSE, LIGHT))[..., None], np.array([0.0, 1.0]), flow)
    slope = np.where(x < 0.335, -0.55, 0.55)
    flow = np.where((region == ROOF)[..., None], np.stack([np.ones_like(x), slope], -1), flow)
    return (flow / np.maximum(np.linalg.norm(flow, axis=-1, keepdims=True), 1e-9)).astype(
        np.float32
    )


def _ramp(codes: tuple, t: Array) -> Array:
    """Look up a palette, mixing neighbors, at t in [0, 1]."""
    colors = np.stack([rgb(code) for code in codes])
    place = np.clip(t, 0, 1) * (len(codes) - 1)
    low = np.minimum(place.astype(int), len(codes) - 2)
    return mix(colors[low], colors[low + 1], (place - low)[..., None])


def colors(x: Array, y: Array, region: Array) -> Array:
    """Give the color that strokes at each pixel are mixed from."""
    slope = (y - _hilltop(x)) / np.maximum(_horizon(x) - _hilltop(x), 1e-3)
    hill = _ramp(HILLS, 0.62 - 0.62 * slope + 0.35 * fractal(x * 9, y * 22, 3, 78))
    leafy = 0.40 + 0.62 * fractal(x * 9 - y * 5, y * 21, 3, 79) + 2.2 * (0.37 - y)
    crown = _ramp(LEAVES, leafy - 0.7 * (x - 0.80))
    bark = _ramp(BARK, 0.42 - 14 * (x - _spine(y)) + 0.3 * fractal(x * 60, y * 9, 2, 80))
    tree = np.where(_bark(x, y)[..., None], bark, crown)
    wall = mix(rgb("#8fa3b8"), rgb("#3a4a78"), smoothstep(0.30, 0.37, x)[..., None])
    picture = _sky(x, y)
    for kind, value in (
        (HILL, hill),
        (FIELD, _field(x, y)),
        (TREE, tree),
        (HOUSE, wall),
        (ROOF, rgb("#7c2c22")),
        (LIGHT, rgb("#ffd45c")),
    ):
        picture = np.where((region == kind)[..., None], value, picture)
    return picture.astype(np.float32)


def _sky(x: Array, y: Array) -> Array:
    """Color the sky in bands along the wind, light in the eddies and about the moon."""
    stream = _stream(x, y)
    bands = 0.5 + 0.5 * np.sin(stream * 95 + 1.6 * fractal(x * 3, y * 3, 2, 73))
    fine = 0.5 + 0.5 * np.sin(stream * 260 + 2.5 * fractal(x * 5, y * 5, 2, 74))
    tone = 0.10 + 0.34 * bands**1.6 + 0.16 * fine + 0.16 * fractal(x * 2.2, y * 3.5, 3, 75)
    for cx, cy, radius, _ in EDDIES:
        tone += 0.34 * np.exp(-(((x - cx) ** 2 + (y - cy) ** 2) / (0.55 * radius) ** 2))
    tone += 0.20 * smoothstep(0.30, 0.50, y) - 0.10 * smoothstep(0.15, 0.0, y)
    moon = np.hypot(x - MOON[0], y - MOON[1])
    halo = np.exp(-((moon / 0.105) ** 2)) * (0.86 + 0.14 * np.sin(moon * 190))
    warm = smoothstep(0.50, 0.92, halo)[..., None]
    return mix(_ramp(NIGHT, tone + 0.42 * halo), _ramp(WHEAT, 0.30 + 0.6 * halo), warm)


def _field(x: Array, y: Array) -> Array:
    """Color the field in furrows that meet far off, with gusts, and the tree's shadow."""
    depth = (y - _horizon(x)) / (0.79 - _horizon(x))
    angle = np.arctan2(x - 0.30 + 0.04 * np.sin(16 * y), np.maximum(y - 0.46, 0.01))
    rows = 0.5 + 0.5 * np.sin(angle * 26 + fractal(x * 6, y * 9, 2, 76))
    gust = fractal(x * 3.2 + y, y * 7, 3, 77)
    wheat = _ramp(WHEAT, 0.18 + 0.42 * rows + 0.30 * gust + 0.16 * (1 - depth))
    shade = np.clip(smoothstep(0.55, 1.1, depth) * 0.5 + 0.35 * (rows < 0.22), 0, 1)
    fall = np.abs(x - 0.655 + 0.85 * (y - 0.655)) / (0.016 + 0.22 * np.clip(y - 0.65, 0, None))
    shadow = smoothstep(1.0, 0.6, fall) * smoothstep(0.640, 0.665, y) * (0.75 + 0.25 * rows)
    return mix(wheat, rgb("#33235a"), np.maximum(0.75 * shade, 0.9 * shadow)[..., None])
