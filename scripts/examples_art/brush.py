"""A brush that lays strokes along a field of directions, in thick paint that catches the light."""

import numpy as np

from examples_art.common import Array, blur

BATCH = 400


def bristles(rng: np.random.Generator, size: int = 512) -> Array:
    """Make a periodic texture, rows across and columns along a stroke, of mean 0, deviation 1."""
    across, along = np.fft.fftfreq(size)[:, None] * size, np.fft.rfftfreq(size)[None, :] * size
    # Bristles are thin across and long along the stroke; broad streaks carry unmixed paint.
    fine = np.exp(-((across / 70) ** 2) - (along / 5) ** 2)
    broad = 1.6 * np.exp(-((across / 16) ** 2) - (along / 2.2) ** 2)
    noise = np.fft.rfft2(rng.standard_normal((size, size)))
    texture = np.fft.irfft2(noise * (fine + broad), s=(size, size))
    return ((texture - texture.mean()) / texture.std()).astype(np.float32)


class Canvas:
    """Color and height of the paint, oversampled; positions and sizes are in its pixels."""

    def __init__(self, ground: Array, rng: np.random.Generator):
        self.color = ground.copy()
        self.height = 0.12 * rng.standard_normal(ground.shape[:2]).astype(np.float32)
        self.texture, self.rng = bristles(rng), rng

    def trace(self, starts: Array, length: Array, direction: Array, region: Array) -> Array:
        """Follow directions (H, W, 2: x, y) from starts (N, 2), to both sides.

        Returns:
            Courses (N, 25, 2), which stop where the region changes.
        """
        height, width = region.shape
        half, pace = 12, (length / 24)[:, None]
        own = region[starts[:, 1].astype(int), starts[:, 0].astype(int)]
        course = np.repeat(starts[:, None], 2 * half + 1, 1).astype(np.float32)
        for sign in (1, -1):
            place, going = starts.astype(np.float32), np.ones(len(starts), bool)
            heading = np.zeros_like(place)
            for step in range(1, half + 1):
                x = np.clip(place[:, 0], 0, width - 1).astype(int)
                y = np.clip(place[:, 1], 0, height - 1).astype(int)
                turn = sign * direction[y, x]
                # A hand turns slowly.
                heading = turn if step == 1 else 0.55 * heading + 0.45 * turn
                heading = heading / np.maximum(np.linalg.norm(heading, axis=1, keepdims=True), 1e-6)
                ahead = place + heading * pace
                x = np.clip(ahead[:, 0], 0, width - 1).astype(int)
                y = np.clip(ahead[:, 1], 0, height - 1).astype(int)
                going &= region[y, x] == own
                place = np.where(going[:, None], ahead, place)
                course[:, half + sign * step] = place
        return course

    def stroke(
        self, course: Array, width: Array, first: Array, second: Array, *, load: float = 1.0
    ) -> None:
        """Lay strokes along courses (N, K, 2), later ones over earlier ones.

        Args:
            course: Points (x, y) along each stroke.
            width: Widths (N,).
            first: Colors (N, 3).
            second: Colors (N, 3) that streak the first.
            load: How much paint there is: less leaves more of what lies below.
        """
        for begin in range(0, len(course), BATCH):
            part = slice(begin, begin + BATCH)
            self._lay(course[part], width[part], first[part], second[part], load)

    def _lay(self, course: Array, width: Array, first: Array, second: Array, load: float) -> None:
        along = np.linalg.norm(np.diff(course, axis=1), axis=2).sum(1)
        kept = along > 0.8 * width
        if not kept.any():
            return
        course, width, first, second, along = (
            a[kept] for a in (course, width, first, second, along)
        )
        samples = int(np.clip(along.max() / 0.7, 8, 900))
        ribs = int(np.clip(width.max() / 0.7, 4, 160))
        s = np.linspace(0, 1, samples, dtype=np.float32)
        t = np.linspace(-1, 1, ribs, dtype=np.float32)
        centre, normal = _resample(course, s)
        taper = np.clip(s / 0.10, 0, 1) ** 0.5 * np.clip((1 - s) / 0.22, 0, 1) ** 0.6
        texture = self._texture(len(course), s, t, along)
        reach = 0.5 * width[:, None, None] * taper[None, :, None] * t
        place = centre[:, :, None] + normal[:, :, None] * reach[..., None]
        # Paint runs dry toward the end and at the sides.
        dry = 1.9 - 2.3 * s[None, :, None] ** 3 / load - 0.9 * np.abs(t) ** 4 + 0.6 * (load - 1)
        wet = texture > -dry
        ridge = 0.55 * np.abs(t) ** 3 * (1 - np.abs(t) ** 12) + 0.35 * (1 - s[None, :, None])
        relief = ridge + 0.30 * texture
        # Shifted, so that the second color does not follow the gaps in the paint.
        streak = np.clip(0.5 + 0.42 * np.roll(texture, 7, axis=2), 0, 1)[..., None] ** 1.5
        color = first[:, None, None] + (second - first)[:, None, None] * streak
        self._write(place[wet], color[wet], relief[wet], np.sqrt(width.mean()))

    def _texture(self, count: int, s: Array, t: Array, along: Array) -> Array:
        """Cut each stroke its own piece (count, s, t) of the bristle texture."""
        size = len(self.texture)
        row, column = self.rng.integers(0, size, (2, count))
        rows = row[:, None] + (40 * (t + 1)).astype(int)
        columns = column[:, None] + (s * np.minimum(along, 400)[:, None] * 0.5).astype(int)
        return self.texture[rows[:, None, :] % size, columns[:, :, None] % size]

    def _write(self, place: Array, color: Array, relief: Array, thickness: float) -> None:
        x, y = np.round(place[:, 0]).astype(int), np.round(place[:, 1]).astype(int)
        inside = (x >= 0) & (y >= 0) & (x < self.height.shape[1]) & (y < self.height.shape[0])
        x, y = x[inside], y[inside]
        # Of repeated indices the last wins: the latest stroke lies on top.
        below = 0.35 * self.height[y, x]
        self.height[y, x] = below + thickness * (0.35 + 0.45 * relief[inside])
        self.color[y, x] = color[inside]

    def lit(self, strength: float = 0.16) -> Array:
        """Light the paint from the upper left: relief, and a little gloss on the ridges."""
        smooth = blur(self.height, 1.1)
        slope_y, slope_x = np.gradient(smooth)
        toward = (slope_x + 1.1 * slope_y) * strength * 3.0
        shade = np.clip(1.0 + np.tanh(toward), 0.35, 1.6)[..., None]
        gloss = 0.16 * np.clip(toward - 0.35, 0, 1)[..., None]
        return np.clip(self.color * (0.25 + 0.75 * shade) + gloss, 0, 1)


def _resample(course: Array, s: Array) -> tuple[Array, Array]:
    """Give points and unit normals (N, S, 2) at the parts ``s`` of each course."""
    # Courses that stopped early repeat their first or last point: leave that out.
    moved = np.linalg.norm(np.diff(course, axis=1), axis=2) > 1e-3
    first = np.argmax(moved, axis=1)
    last = moved.shape[1] - np.argmax(moved[:, ::-1], axis=1)
    place = first[:, None] + s * (last - first)[:, None]
    low = np.minimum(place.astype(int), course.shape[1] - 2)
    part = (place - low)[..., None]
    stroke = np.arange(len(course))[:, None]
    centre = course[stroke, low] * (1 - part) + course[stroke, low + 1] * part
    tangent = np.gradient(centre, axis=1)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=2, keepdims=True), 1e-6)
    return centre, np.stack([-tangent[..., 1], tangent[..., 0]], 2)
