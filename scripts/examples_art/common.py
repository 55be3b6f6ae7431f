"""Noise, blurs and color, shared by the renderers."""

import functools

import numpy as np

Array = np.ndarray


def smoothstep(low: float, high: float, x: Array) -> Array:
    """Rise from 0 at ``low`` to 1 at ``high`` with flat ends; falls where ``low > high``."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mix(a: Array, b: Array, t: Array) -> Array:
    """Go from ``a`` (t = 0) to ``b`` (t = 1)."""
    return a + (b - a) * t


def rgb(code: str) -> Array:
    """Read '#rrggbb' as three sRGB values in [0, 1]."""
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], np.float32) / 255.0


def to_srgb(light: Array) -> Array:
    """Turn linear light into sRGB values."""
    light = np.clip(light, 0.0, 1.0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@functools.lru_cache(maxsize=64)
def _tables(seed: int) -> tuple[Array, Array, Array]:
    """Give a permutation of 0..255, repeated past 512, and 256 unit gradients for it."""
    rng = np.random.default_rng(seed)
    permutation = rng.permutation(256)
    angle = rng.uniform(0, 2 * np.pi, 256)
    repeated = np.concatenate([permutation, permutation, permutation[:2]]).astype(np.intp)
    return repeated, np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def gradient_noise(x: Array, y: Array, seed: int) -> Array:
    """Evaluate Perlin's gradient noise, about in [-1, 1], of period 256 in x and y."""
    permutation, gx, gy = _tables(seed)
    x, y = np.broadcast_arrays(np.asarray(x, np.float32), np.asarray(y, np.float32))
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    column, row = x0.astype(np.intp) & 255, y0.astype(np.intp) & 255
    u = fx * fx * fx * (fx * (fx * 6 - 15) + 10)
    v = fy * fy * fy * (fy * (fy * 6 - 15) + 10)
    left = permutation.take(column) + row
    right = permutation.take(column + 1) + row

    def corner(index: Array, dx: int, dy: int) -> Array:
        index = permutation.take(index + dy)
        return gx.take(index) * (fx - np.float32(dx)) + gy.take(index) * (fy - np.float32(dy))

    low = mix(corner(left, 0, 0), corner(right, 1, 0), u)
    high = mix(corner(left, 0, 1), corner(right, 1, 1), u)
    return np.float32(1.5) * mix(low, high, v)


def fractal(x: Array, y: Array, octaves: int, seed: int, gain: float = 0.5) -> Array:
    """Sum octaves of gradient noise, each twice as fine and ``gain`` as strong as the last."""
    total = np.zeros(np.broadcast_shapes(np.shape(x), np.shape(y)), np.float32)
    for octave in range(octaves):
        # The shift keeps the octaves' lattice points, where noise is zero, apart.
        scale, shift = 2.03**octave, 17.3 * octave
        total += gain**octave * gradient_noise(x * scale + shift, y * scale - shift, seed + octave)
    return total


def ridged(x: Array, y: Array, octaves: int, seed: int) -> Array:
    """Sum octaves of sharp ridges, finer ones only near the crests; in [0, 1] or so."""
    total = np.zeros(np.broadcast_shapes(np.shape(x), np.shape(y)), np.float32)
    weight, amplitude = np.float32(1.0), 0.5
    for octave in range(octaves):
        scale = 2.07**octave
        ridge = (1.0 - np.abs(gradient_noise(x * scale, y * scale + 5.1, seed + octave))) ** 2
        total += amplitude * weight * ridge
        weight, amplitude = np.clip(1.6 * ridge, 0.0, 1.0), 0.5 * amplitude
    return total


def blur(image: Array, sigma: float) -> Array:
    """Blur about as a Gaussian of ``sigma`` pixels does: three box filters, edges repeated."""
    radius = round(np.sqrt(sigma**2 + 0.25) - 0.5)
    result = image.astype(np.float64)
    for axis in (0, 1):
        if radius < 1:
            result = _soften(result, sigma**2, axis)
            continue
        for _ in range(3):
            result = _box(result, radius, axis)
    return result.astype(np.float32)


def _soften(image: Array, variance: float, axis: int) -> Array:
    """Mix in the two neighbors along one axis, for blurs finer than a pixel."""
    pad = [(0, 0)] * image.ndim
    pad[axis] = (1, 1)
    padded, size = np.pad(image, pad, mode="edge"), image.shape[axis]
    before = np.take(padded, np.arange(size), axis)
    after = np.take(padded, np.arange(2, size + 2), axis)
    return (1 - variance) * image + 0.5 * variance * (before + after)


def _box(image: Array, radius: int, axis: int) -> Array:
    """Average over ``2 radius + 1`` neighbors along one axis."""
    pad = [(0, 0)] * image.ndim
    pad[axis] = (radius + 1, radius)
    total = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis)
    size, window = image.shape[axis], 2 * radius + 1
    upper = np.take(total, np.arange(window, window + size), axis)
    return (upper - np.take(total, np.arange(size), axis)) / window


def shrink(image: Array, factor: int) -> Array:
    """Average ``factor`` x ``factor`` blocks of pixels."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: height * factor, : width * factor]
    return blocks.reshape(height, factor, width, factor, -1).mean((1, 3), dtype=np.float32)


def grid(height: int, width: int) -> tuple[Array, Array]:
    """Give the row and column of every pixel, two float32 arrays."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return rows, columns


def bilinear(image: Array, rows: Array, columns: Array) -> Array:
    """Read an image between its pixels, edges repeated."""
    height, width = image.shape[:2]
    rows = np.clip(rows, 0, height - 1.001)
    columns = np.clip(columns, 0, width - 1.001)
    r, c = rows.astype(np.int32), columns.astype(np.int32)
    fr, fc = rows - r, columns - c
    if image.ndim == 3:
        fr, fc = fr[..., None], fc[..., None]
    upper = mix(image[r, c], image[r, c + 1], fc)
    return mix(upper, mix(image[r + 1, c], image[r + 1, c + 1], fc), fr)
