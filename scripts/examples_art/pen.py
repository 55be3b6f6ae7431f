"""A pen: hatching that follows directions and tones, and free lines, in ink on paper."""

import numpy as np

from examples_art.common import Array, fractal, gradient_noise, shrink

OVERSAMPLING = 3
STEP = 1.5  # pixels between the points of a hatching line


class Pen:
    """Collects ink lines in pixel coordinates (x, y) and draws them at the end."""

    def __init__(self, height: int, width: int, rng: np.random.Generator):
        self.height, self.width, self.rng = height, width, rng
        self.lines: list[tuple[Array, Array]] = []

    def line(self, points: Array, width: float, taper: float = 0.15) -> None:
        """Draw a free line (N, 2), thinner at its ends and a little uneven like a hand's."""
        points = np.asarray(points, np.float32)
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        if length[-1] < 1.5:
            return
        even = np.linspace(0, length[-1], max(int(length[-1] / STEP), 3))
        course = np.stack([np.interp(even, length, points[:, axis]) for axis in (0, 1)], 1)
        self._add(course, np.full(len(course), width), taper)

    def _add(self, course: Array, width: Array, taper: float) -> None:
        part = np.linspace(0, 1, len(course))
        ends = np.clip(np.minimum(part, 1 - part) / max(taper, 1e-3), 0.0, 1.0) ** 0.6
        start = self.rng.uniform(0, 200, 3)
        place = np.arange(len(course)) * STEP
        press = 1.0 + 0.28 * gradient_noise(place / 11, start[0], 91)
        sway = [0.55 * fractal(place / 26, start[k], 2, 92 + k) for k in (1, 2)]
        self.lines.append((course + np.stack(sway, 1), width * press * (0.25 + 0.75 * ends)))

    def hatch(
        self,
        direction: Array,
        tone: Array,
        region: Array,
        *,
        least: float,
        spacing: tuple,
        width: tuple,
        reach: float = 150.0,
    ) -> None:
        """Fill what is darker than ``least`` with evenly spaced lines along a field.

        Args:
            direction: Unit directions (H, W, 2: x, y); their sign does not matter.
            tone: Darkness (H, W) in [0, 1].
            region: Whole numbers (H, W); a line stays within one.
            least: The tone that is left white.
            spacing: Pixels between lines in the lightest and the darkest parts.
            width: Width of lines there.
            reach: The longest a line gets, about.
        """
        part = np.clip((tone - least) / (1 - least), 0, 1)
        gap = spacing[0] + (spacing[1] - spacing[0]) * part**0.7
        thick = width[0] + (width[1] - width[0]) * part
        taken = np.zeros(tone.shape, bool)
        seeds = np.argwhere(tone > least)
        self.rng.shuffle(seeds)
        for y, x in seeds[::4].tolist():
            if taken[y, x]:
                continue
            longest = reach * self.rng.uniform(0.45, 1.0)
            halves = [
                self._follow(x, y, sign, direction, tone, region, taken, least, longest / 2)
                for sign in (-1, 1)
            ]
            course = np.array(halves[0][::-1] + [(x, y)] + halves[1], np.float32)
            rows = np.clip(np.round(course[:, 1]), 0, self.height - 1).astype(int)
            columns = np.clip(np.round(course[:, 0]), 0, self.width - 1).astype(int)
            _stamp(taken, rows, columns, 0.82 * gap[rows, columns])
            if len(course) > 3:
                self._add(course, thick[rows, columns], 0.22)

    def _follow(
        self,
        x: float,
        y: float,
        sign: int,
        direction: Array,
        tone: Array,
        region: Array,
        taken: Array,
        least: float,
        longest: float,
    ) -> list:
        """Trace one half of a line until it leaves its region, the dark, or meets another."""
        course, own = [], region[y, x]
        dx, dy = (sign * direction[y, x]).tolist()
        px, py = float(x), float(y)
        for _ in range(int(longest / STEP)):
            px, py = px + STEP * dx, py + STEP * dy
            column, row = round(px), round(py)
            if not (0 <= row < self.height and 0 <= column < self.width):
                break
            if taken[row, column] or region[row, column] != own or tone[row, column] < least:
                break
            course.append((px, py))
            ax, ay = direction[row, column].tolist()
            if ax * dx + ay * dy < 0:
                ax, ay = -ax, -ay
            if ax * dx + ay * dy < 0.3:  # The field breaks here: a crease.
                break
            dx, dy = ax, ay
        return course

    def ink(self) -> Array:
        """Draw all lines; give the part of each pixel that ink covers (H, W)."""
        n = OVERSAMPLING
        sheet = np.zeros((self.height * n, self.width * n), np.float32)
        for course, width in self.lines:
            self._draw(sheet, course * n, width * n)
        return shrink(sheet[..., None], n)[..., 0]

    def _draw(self, sheet: Array, course: Array, width: Array) -> None:
        dense = np.linspace(0, len(course) - 1, int(len(course) * STEP * OVERSAMPLING * 1.4) + 2)
        index = np.arange(len(course))
        x, y, thick = (np.interp(dense, index, a) for a in (course[:, 0], course[:, 1], width))
        tx, ty = np.gradient(x), np.gradient(y)
        norm = np.maximum(np.hypot(tx, ty), 1e-6)
        side = np.linspace(-0.5, 0.5, int(thick.max() / 0.7) + 2)
        px = np.round(x[:, None] - (ty / norm * thick)[:, None] * side + 1).astype(int)
        py = np.round(y[:, None] + (tx / norm * thick)[:, None] * side + 1).astype(int)
        inside = (px >= 0) & (py >= 0) & (px < sheet.shape[1]) & (py < sheet.shape[0])
        sheet[py[inside], px[inside]] = 1.0


def _stamp(taken: Array, rows: Array, columns: Array, radius: Array) -> None:
    """Mark discs about the points of a line as taken."""
    largest = int(np.ceil(radius.max()))
    dy, dx = np.mgrid[-largest : largest + 1, -largest : largest + 1].reshape(2, -1)
    near = dy * dy + dx * dx <= (radius * radius)[:, None]
    row = np.clip((rows[:, None] + dy)[near], 0, taken.shape[0] - 1)
    column = np.clip((columns[:, None] + dx)[near], 0, taken.shape[1] - 1)
    taken[row, column] = True
