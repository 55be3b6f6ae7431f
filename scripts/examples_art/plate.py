"""The sheet of an engraving: tone, directions and wash of every pixel, and lines to come."""

import numpy as np

from examples_art.common import Array, blur, grid, rgb

HEIGHT, WIDTH = 768, 640

LIGHT = np.array([-0.62, -0.52, 0.59], np.float32)  # x to the right, y down, z toward us

INK, PAPER = rgb("#2b211d"), rgb("#f1e5cb")


class Plate:
    """What the pen needs at every pixel: tone, two directions, region; and the wash's color."""

    def __init__(self, rng: np.random.Generator):
        self.y, self.x = grid(HEIGHT, WIDTH)
        self.tone = np.zeros((HEIGHT, WIDTH), np.float32)
        self.first = np.zeros((HEIGHT, WIDTH, 2), np.float32)
        self.second = np.zeros((HEIGHT, WIDTH, 2), np.float32)
        self.region = np.zeros((HEIGHT, WIDTH), int)
        self.wash = np.ones((HEIGHT, WIDTH, 3), np.float32)
        self.outlines: list[tuple[Array, float, int]] = []
        self.rng, self.count = rng, 0

    def add(
        self, mask: Array, tone: Array, first: Array, wash: Array, second: Array | None = None
    ) -> int:
        """Put a thing in front; ``first`` and ``second`` are fields whose level lines lead."""
        self.count += 1
        direction = level(first)
        across = turned(direction, 1.15) if second is None else level(second)
        self.tone[mask] = np.broadcast_to(np.clip(tone, 0, 1), mask.shape)[mask]
        self.first[mask], self.second[mask] = direction[mask], across[mask]
        self.region[mask] = self.count
        self.wash[mask] = np.broadcast_to(wash, (*mask.shape, 3))[mask]
        return self.count

    def outline(self, points: Array, width: float) -> None:
        """Draw a line later, where what was added up to now is still in front."""
        self.outlines.append((np.asarray(points, np.float32), width, self.count))

    def shown(self, points: Array, newest: int) -> Array:
        """Say which points of a line nothing newer covers."""
        row = np.clip(np.round(points[:, 1]), 0, HEIGHT - 1).astype(int)
        column = np.clip(np.round(points[:, 0]), 0, WIDTH - 1).astype(int)
        return self.region[row, column] <= newest


def level(field: Array) -> Array:
    """Give the unit directions (x, y) along a field's level lines."""
    dy, dx = np.gradient(field)
    direction = np.stack([dy, -dx], -1)
    return direction / np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-6)


def turned(direction: Array, angle: float) -> Array:
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = direction[..., 0], direction[..., 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], -1)


def shade(normal: Array) -> Array:
    """Give the darkness of a matt surface with unit-length-to-be normals (H, W, 3)."""
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    lit = normal @ LIGHT
    # Light thrown back from below keeps the far edge from going quite black.
    back = 0.22 * np.clip(normal @ np.array([0.75, 0.6, -0.1], np.float32), 0, 1)
    return np.clip(0.92 - 0.98 * np.clip(lit, -0.12, 1) - back, 0, 1)


def contours(mask: Array, plate: Plate) -> list[Array]:
    """Trace the borders of a mask as broken lines, by following its level line."""
    soft = blur(mask.astype(np.float32), 1.2)
    direction = level(blur(mask.astype(np.float32), 2.0))
    edge = np.argwhere((soft > 0.35) & (soft < 0.65))
    free = np.ones(mask.shape, bool)
    curves = []
    plate.rng.shuffle(edge)
    for row, column in edge.tolist():
        if not free[row, column]:
            continue
        curve, x, y = [], float(column), float(row)
        for _ in range(400):
            r, c = round(y), round(x)
            if (
                not (2 <= r < HEIGHT - 2 and 2 <= c < WIDTH - 2)
                or not free[r, c]
                or not 0.2 < soft[r, c] < 0.8
            ):
                break
            curve.append((x, y))
            x, y = x + direction[r, c, 0], y + direction[r, c, 1]
        for px, py in curve:
            free[round(py) - 2 : round(py) + 3, round(px) - 2 : round(px) + 3] = False
        if len(curve) > 8:
            curves.append(np.array(curve))
    return curves
