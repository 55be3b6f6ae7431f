"""The sky of the landscape: air, a veiled sun, and clouds marched through a noise volume."""

import numpy as np

from examples_art.common import Array, bilinear, blur, fractal, mix, smoothstep
from examples_art.scene import SUN_IN_PICTURE, Camera, air_color

BASE, TOP = 470.0, 1500.0
VOLUME = 96
STEPS = 90


def cloud_volume(seed: int) -> Array:
    """Make a periodic cube of billowing noise in [0, 1]: puffs of three sizes."""
    rng = np.random.default_rng(seed)
    parts = [_puffs(rng, cells) for cells in (4, 9, 18)]
    billow = 0.62 * parts[0] + 0.26 * parts[1] + 0.12 * parts[2]
    frequency = np.fft.fftfreq(VOLUME).astype(np.float32) * VOLUME
    radius = np.sqrt(sum(f**2 for f in np.meshgrid(frequency, frequency, frequency)))
    spectrum = np.fft.fftn(rng.standard_normal((VOLUME,) * 3).astype(np.float32))
    smooth = np.fft.ifftn(spectrum / np.maximum(radius, 1.5) ** 2.6).real
    smooth = 0.5 + 0.22 * smooth / smooth.std()
    return np.clip(0.6 * billow + 0.4 * smooth, 0, 1).astype(np.float32)


def _puffs(rng: np.random.Generator, cells: int) -> Array:
    """Fill the cube with balls, one per cell: 1 at their centres, 0 far from any (Worley)."""
    offset = rng.random((cells, cells, cells, 3), np.float32)
    axis = (np.arange(VOLUME, dtype=np.float32) + 0.5) * cells / VOLUME
    place = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    cell = place.astype(np.int32)
    least = np.full(place.shape[:3], 9.0, np.float32)
    for shift in np.ndindex(3, 3, 3):
        neighbor = cell + np.array(shift, np.int32) - 1
        index = neighbor % cells
        centre = neighbor.astype(np.float32) + offset[index[..., 0], index[..., 1], index[..., 2]]
        apart = place - centre
        least = np.minimum(least, np.einsum("...i,...i", apart, apart))
    return np.clip(1.0 - least, 0, 1)


def _lookup(volume: Array, points: Array) -> Array:
    """Read the periodic volume at points (N, 3) given in periods, between its samples."""
    scaled = points * VOLUME
    low = np.floor(scaled)
    part = scaled - low
    a = low.astype(np.int32) % VOLUME
    b = (a + 1) % VOLUME
    flat = volume.ravel()
    total = np.zeros(len(points), np.float32)
    for ix, wx in ((a[:, 0], 1 - part[:, 0]), (b[:, 0], part[:, 0])):
        for iy, wy in ((a[:, 1], 1 - part[:, 1]), (b[:, 1], part[:, 1])):
            line = (ix * VOLUME + iy) * VOLUME
            mixed = flat[line + a[:, 2]] * (1 - part[:, 2]) + flat[line + b[:, 2]] * part[:, 2]
            total += wx * wy * mixed
    return total


def _density(volume: Array, points: Array, detail: bool = True) -> Array:
    """Give how thick the clouds are at points (N, 3) in meters: flat below, billowing above."""
    x, y, z = points.T
    up = (y - BASE) / (TOP - BASE)
    weather = fractal(x / 1500 + 3.33, z / 2300 + 5.49, 2, 31)
    cover = np.clip(0.30 + 0.46 * weather, 0.0, 0.66) * smoothstep(1500, 2500, z)
    cover *= 1 - np.exp(
        -((np.hypot(x / z - SUN_IN_PICTURE[0] - 0.02, y / z - SUN_IN_PICTURE[1]) / 0.13) ** 2)
    )
    profile = smoothstep(0.0, 0.10, up) * smoothstep(1.0, 0.15, up / np.maximum(cover * 1.5, 0.2))
    shape = _lookup(volume, points / np.float32(1700.0) + np.float32(0.13))
    density = shape * profile - (1.0 - cover) * 0.72
    if detail:
        density -= 0.20 * (1.0 - _lookup(volume, points / np.float32(300.0)))
    return np.clip(density * 9.0, 0, 1)


def _sun_direction() -> Array:
    direction = np.array([SUN_IN_PICTURE[0] - 0.6, SUN_IN_PICTURE[1] + 0.25, 0.1], np.float32)
    return direction / np.linalg.norm(direction)


def clouds(across: Array, upward: Array, seed: int) -> tuple[Array, Array]:
    """March rays (N) through the clouds; give their light (N, 3) and the air's share (N)."""
    volume = cloud_volume(seed)
    rng = np.random.default_rng(seed)
    ray = np.stack([across, upward, np.ones_like(across)], 1)
    near, far = BASE / upward, np.minimum(TOP / upward, 26000.0)
    pace = (far - near) / STEPS
    start = near + pace * rng.random(len(across), np.float32)
    clear = np.ones(len(across), np.float32)
    light = np.zeros((len(across), 3), np.float32)
    toward = np.hypot(across - SUN_IN_PICTURE[0], upward - SUN_IN_PICTURE[1])
    silver = 0.75 + 1.5 * np.exp(-((toward / 0.22) ** 2))
    for step in range(STEPS):
        z = start + step * pace
        open_rays = np.nonzero((clear > 0.02) & (z < far))[0]
        points = ray[open_rays] * z[open_rays, None]
        density = _density(volume, points)
        thick = density > 0.004
        index, points, density = open_rays[thick], points[thick], density[thick]
        passed = np.exp(-density * pace[index] / 45.0)
        glow = _cloud_light(volume, points, density, silver[index])
        # Far clouds take the color of the air before them.
        fade = (1 - np.exp(-((z[index] / 15000.0) ** 1.5)))[:, None]
        glow = mix(glow, air_color(across[index], upward[index]), fade)
        light[index] += glow * (clear[index] * (1 - passed))[:, None]
        clear[index] *= passed
    return light, clear


def _cloud_light(volume: Array, points: Array, density: Array, silver: Array) -> Array:
    """Light cloud points: the sun through what stands before it, and the sky's blue."""
    thickness = np.zeros(len(points), np.float32)
    reach, sun = 0.0, _sun_direction()
    for length in (30.0, 55.0, 100.0, 180.0):
        reach += length
        thickness += length * _density(volume, points + sun * (reach - length / 2), detail=False)
    # Two exponentials: what scatters many times reaches deeper than the straight light.
    through = np.exp(-thickness / 95.0) + 0.35 * np.exp(-thickness / 400.0)
    powder = 1.0 - 0.55 * np.exp(-density * 6.0)
    up = np.clip((points[:, 1] - BASE) / (TOP - BASE), 0, 1)[:, None]
    sky = mix(
        np.array([0.27, 0.32, 0.44], np.float32), np.array([0.46, 0.57, 0.80], np.float32), up
    )
    sunlight = np.array([2.1, 1.70, 1.25], np.float32) * (through * powder * silver)[:, None]
    return sunlight + 0.85 * sky


def render(camera: Camera, seed: int = 5) -> Array:
    """Render the sky above the horizon at the camera's size, linear light."""
    rows = int(np.ceil(camera.horizon))
    row, column = np.mgrid[0:rows:2, 0 : camera.width : 2].astype(np.float32) + 0.5
    across = (column - camera.width / 2) / camera.focal
    upward = np.maximum((camera.horizon - row) / camera.focal, 0.004)
    sky = _air(across, upward)
    light, clear = clouds(across.ravel(), upward.ravel(), seed)
    light, clear = light.reshape(sky.shape), clear.reshape(sky.shape[:2])
    # The march starts at random depths; a slight blur takes the speckle that this leaves.
    sky = sky * blur(clear, 0.9)[..., None] + blur(light, 0.9)
    full_row, full_column = np.mgrid[0:rows, 0 : camera.width].astype(np.float32)
    return bilinear(sky, full_row / 2 - 0.25, full_column / 2 - 0.25)


def _air(across: Array, upward: Array) -> Array:
    """Color the clear sky: deep above, pale low down, bright about the sun."""
    zenith = np.array([0.10, 0.26, 0.60], np.float32)
    height = 1.0 - np.exp(-upward / 0.17)
    sky = mix(air_color(across, upward), zenith, (0.88 * height)[..., None])
    distance = np.hypot(across - SUN_IN_PICTURE[0], upward - SUN_IN_PICTURE[1])
    glow = 0.9 * np.exp(-distance / 0.09) + 1.9 * np.exp(-((distance / 0.017) ** 2))
    veil = 0.5 + 0.5 * fractal(across * 3 / (upward + 0.12), 2.2 / (upward + 0.12), 5, 33)
    sky += 0.16 * (np.clip(veil, 0, 1) ** 2 * smoothstep(0.0, 0.25, upward))[..., None]
    return sky + glow[..., None] * np.array([1.25, 1.0, 0.68], np.float32)
