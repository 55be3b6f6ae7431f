"""A poster of flat shapes: a harbor in discs, sails and bars that change color as they cross."""

import numpy as np

from examples_art.common import Array, blur, fractal, grid, mix, rgb, shrink, smoothstep

HEIGHT, WIDTH, OVERSAMPLING = 640, 768, 3
LINE = 4.4  # width of the outlines in pixels

CREAM, SAND, YELLOW, ORANGE = rgb("#f3e7cd"), rgb("#e6cfa0"), rgb("#f3b62f"), rgb("#e8742a")
RED, PINK, BLUE, PALE = rgb("#d23a2a"), rgb("#eaa79a"), rgb("#1f4396"), rgb("#a5cbd2")
TEAL, GREEN, BLACK = rgb("#23898a"), rgb("#1d5148"), rgb("#191b24")


class Poster:
    """A sheet on which shapes, given as signed distances (negative inside), are painted in turn."""

    def __init__(self, rng: np.random.Generator):
        n = OVERSAMPLING
        row, column = grid(HEIGHT * n, WIDTH * n)
        self.x, self.y = (column + 0.5) / n, (row + 0.5) / n
        self.color = np.broadcast_to(CREAM, (*self.x.shape, 3)).copy()
        self.odd = np.zeros(self.x.shape, bool)
        self.grain = rng.random(self.x.shape, np.float32)
        self.shift = rng.uniform(0, 99, 2)

    def paint(
        self,
        shape: Array,
        color: Array,
        through: Array | None = None,
        *,
        ramp: tuple | None = None,
        line: float = LINE,
        lasting: bool = True,
    ) -> None:
        """Paint a shape with an outline.

        Args:
            shape: Signed distance to its border in pixels.
            color: Its color.
            through: Its color over shapes painted before, by turns; None: the same everywhere.
            ramp: (angle, from, to): a grainy shade that grows in a direction (degrees,
                clockwise from the right) between two positions, given in pixels.
            line: Width of the outline, 0 for none.
            lasting: Whether shapes painted later change color over this one.
        """
        inside = shape < 0
        second = color if through is None else through
        fill = np.where(self.odd[inside, None], second, color)
        if ramp is not None:
            fill = self._shaded(fill, inside, *ramp)
        self.color[inside] = fill
        if lasting:
            self.odd[inside] = True if through is None else ~self.odd[inside]
        if line > 0:
            self.color[np.abs(shape) < line / 2] = BLACK

    def overprint(self, shape: Array, color: Array, *, line: float = LINE) -> None:
        """Print a translucent color over what is there, as a second pass of the press does."""
        inside = shape < 0
        black = self.color[inside].max(1, keepdims=True) < 0.2
        tinted = self.color[inside] * mix(np.ones(3, np.float32), color, 0.75)
        self.color[inside] = np.where(black, self.color[inside], tinted)
        if line > 0:
            self.color[np.abs(shape) < line / 2] = BLACK

    def _shaded(self, fill: Array, inside: Array, angle: float, begin: float, end: float) -> Array:
        """Spatter a darker tone over a fill, denser along a direction."""
        turn = np.deg2rad(angle)
        along = self.x[inside] * np.cos(turn) + self.y[inside] * np.sin(turn)
        chance = 0.62 * np.clip((along - begin) / (end - begin), 0, 1) ** 1.4
        deep = fill * np.array([0.62, 0.58, 0.70], np.float32)
        return np.where((self.grain[inside] < chance)[:, None], deep, fill)

    def finish(self, rng: np.random.Generator) -> Array:
        """Give the print its paper: grain, worn ink, uneven paint."""
        picture = shrink(self.color, OVERSAMPLING)
        row, column = grid(HEIGHT, WIDTH)
        tooth = blur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), 0.7)
        strokes = fractal(column / 46, row / 4.5, 3, 131)
        cloud = fractal(column / 120, row / 120, 4, 132)
        picture = picture * (1.0 + 0.055 * tooth + 0.016 * strokes + 0.022 * cloud)[..., None]
        worn = smoothstep(0.72, 1.0, fractal(column / 2.6, row / 2.6, 2, 133) + 0.35 * cloud)
        return np.clip(mix(picture, CREAM, 0.45 * worn[..., None]), 0, 1).astype(np.float32)

    def circle(self, cx: float, cy: float, radius: float) -> Array:
        """Give the signed distance to a circle."""
        return np.hypot(self.x - cx, self.y - cy) - radius

    def polygon(self, *corners: tuple) -> Array:
        """Give the signed distance to a convex polygon, corners clockwise on the screen."""
        result = np.full(self.x.shape, -1e9, np.float32)
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            length = np.hypot(bx - ax, by - ay)
            side = ((self.x - ax) * (by - ay) - (self.y - ay) * (bx - ax)) / length
            result = np.maximum(result, side)
        return result

    def bulge(self, ax: float, ay: float, bx: float, by: float, radius: float) -> Array:
        """Give the signed distance to the circle through two points, its middle right of a to b."""
        span = np.hypot(bx - ax, by - ay)
        rise = np.sqrt(radius**2 - span**2 / 4)
        return self.circle(
            (ax + bx) / 2 - rise * (by - ay) / span, (ay + by) / 2 + rise * (bx - ax) / span, radius
        )

    def box(self, left: float, top: float, right: float, bottom: float) -> Array:
        """Give the signed distance to an upright rectangle."""
        return self.polygon((left, top), (right, top), (right, bottom), (left, bottom))


def both(*shapes: Array) -> Array:
    """Intersect shapes."""
    return np.maximum.reduce(shapes)


def without(shape: Array, hole: Array) -> Array:
    """Cut a hole into a shape."""
    return np.maximum(shape, -hole)


def _sky(p: Poster) -> None:
    p.paint(
        p.polygon((-20, -20), (430, -20), (150, 660), (-20, 660)), PALE, ramp=(20, 60, 420), line=0
    )
    p.paint(p.polygon((-20, -20), (215, -20), (-20, 330)), PINK, TEAL, ramp=(-40, -60, 130))
    p.paint(p.polygon((600, -20), (790, -20), (790, 300)), YELLOW, ORANGE, ramp=(60, 250, 620))
    for radius, color, through, edge in (
        (168, RED, ORANGE, 470),
        (122, ORANGE, RED, 500),
        (78, YELLOW, CREAM, 520),
        (36, CREAM, YELLOW, 560),
    ):
        p.paint(p.circle(548, 212, radius), color, through, ramp=(35, edge + 60, edge + 330))
    p.paint(
        p.polygon((395, -20), (470, -20), (790, 390), (790, 470)), CREAM, PINK, ramp=(128, -120, 60)
    )
    arc = without(p.circle(150, 90, 62), p.circle(128, 76, 54))
    p.paint(arc, CREAM, YELLOW, ramp=(90, 60, 220), lasting=False)


def _town(p: Poster) -> None:
    p.paint(p.box(-20, 300, 62, 470), RED, ramp=(180, -70, 20))
    p.paint(p.box(62, 238, 138, 470), YELLOW, SAND, ramp=(0, 70, 190))
    p.paint(p.polygon((52, 240), (100, 172), (148, 240)), BLUE, ramp=(0, 60, 170))
    p.paint(p.box(138, 318, 226, 470), TEAL, GREEN, ramp=(0, 140, 300))
    p.paint(
        both(p.circle(182, 318, 44), p.box(120, 250, 240, 318)), ORANGE, RED, ramp=(0, 140, 270)
    )
    p.paint(p.box(205, 362, 284, 470), CREAM, PALE, ramp=(0, 210, 380))
    p.paint(p.polygon((205, 362), (284, 318), (284, 362)), RED, ramp=(0, 200, 330))
    p.paint(p.circle(100, 278, 19), CREAM, lasting=False)
    p.paint(p.box(98, 262, 102, 279), BLACK, line=0, lasting=False)
    p.paint(p.box(98, 276, 112, 280), BLACK, line=0, lasting=False)
    for left, top, color in (
        (0, 330, CREAM),
        (30, 330, YELLOW),
        (0, 376, YELLOW),
        (30, 376, CREAM),
        (76, 322, BLUE),
        (106, 322, BLUE),
        (76, 368, RED),
        (106, 368, BLUE),
        (152, 346, YELLOW),
        (188, 346, CREAM),
        (152, 394, CREAM),
        (188, 394, YELLOW),
        (226, 384, BLUE),
        (254, 384, RED),
    ):
        p.paint(p.box(left, top, left + 18, top + 27), color, line=3, lasting=False)


def _sea(p: Poster) -> None:
    p.paint(p.box(-20, 446, 790, 660), BLUE, ramp=(90, 440, 720))
    for k in range(6):
        top, half = 456 + 22 * k, 150 - 17 * k + 26 * (k % 2)
        bar = p.box(548 - half, top, 548 + half, top + 12)
        p.paint(bar, (ORANGE, YELLOW, RED)[k % 3], line=0, lasting=False)


def _boat(p: Poster) -> None:
    p.paint(p.box(376, 30, 386, 486), BLACK, line=0)
    main = both(
        p.polygon((374, 52), (374, 452), (100, 452), (100, 52)), p.bulge(206, 452, 374, 52, 640)
    )
    p.paint(main, CREAM, YELLOW, ramp=(0, 230, 470))
    p.paint(
        both(main, p.polygon((150, 398), (374, 262), (374, 322), (150, 458))),
        RED,
        ORANGE,
        ramp=(0, 230, 470),
    )
    p.paint(
        both(main, p.polygon((374, 262), (374, 40), (300, 40), (280, 319))),
        PALE,
        TEAL,
        ramp=(0, 260, 420),
    )
    p.paint(p.circle(330, 398, 26), BLUE, ramp=(0, 290, 400), lasting=False)
    jib = both(
        p.polygon((390, 84), (650, 84), (650, 452), (390, 452)), p.bulge(390, 84, 536, 452, 520)
    )
    p.paint(jib, BLUE, CREAM, ramp=(180, -540, -350))
    p.paint(
        both(jib, p.polygon((390, 316), (600, 384), (600, 470), (390, 470))),
        YELLOW,
        TEAL,
        ramp=(90, 330, 540),
    )
    p.paint(p.polygon((386, 30), (446, 46), (386, 62)), RED, line=3.4)
    hull = both(p.bulge(580, 468, 190, 468, 330), p.box(150, 468, 600, 600))
    p.paint(hull, RED, ramp=(90, 440, 600))
    p.paint(both(hull, p.box(150, 468, 600, 488)), CREAM, ramp=(0, 300, 640))
    p.paint(both(hull, p.box(150, 520, 600, 600)), BLACK)
    for k in range(4):
        p.paint(p.circle(300 + 54 * k, 505, 7), YELLOW, line=3, lasting=False)


def _waves(p: Poster) -> None:
    for k, color in enumerate((TEAL, PALE, GREEN)):
        top, size = 540 + 36 * k, 46.0
        phase = (p.x + 33 * k) * np.pi / size
        slope = 15 * np.pi / size * np.sin(phase)
        crest = (p.y - top - 15 * np.cos(phase)) / np.hypot(1, slope)
        p.paint(-crest, color, ramp=(90, top - 20, top + 110))


def _skiff(p: Poster) -> None:
    """Sail a small boat at the right."""
    p.paint(p.polygon((668, 300), (668, 440), (612, 440)), YELLOW, CREAM, ramp=(0, 600, 720))
    p.paint(p.polygon((676, 326), (724, 440), (676, 440)), TEAL, RED, ramp=(0, 640, 760))
    p.paint(
        both(p.bulge(742, 446, 600, 446, 110), p.box(590, 446, 750, 500)), RED, ramp=(90, 420, 500)
    )
    p.paint(both(p.bulge(742, 446, 600, 446, 110), p.box(590, 446, 750, 460)), CREAM, lasting=False)


def _accents(p: Poster) -> None:
    corner = p.polygon((600, 660), (790, 456), (790, 660))
    p.paint(corner, BLACK)
    column, row = np.floor(p.x / 20), np.floor(p.y / 20)
    squares = np.where(np.mod(column + row, 2) == 0, -1.0, 1.0)
    p.paint(both(squares, corner + 15), CREAM, line=0)
    for k, color in enumerate((RED, BLUE, PALE)):
        p.paint(p.circle(694 + 27 * k, 66 - 15 * k, 15), color, line=3.4, lasting=False)
    p.overprint(p.polygon((-20, 470), (-20, 400), (290, -20), (352, -20)), rgb("#f5c64a"))
    p.overprint(p.polygon((440, 660), (790, 262), (790, 330), (500, 660)), rgb("#9cc9cf"))


def _fish(p: Poster) -> None:
    body = both(p.circle(118, 648, 98), p.circle(118, 516, 98))
    p.paint(p.polygon((182, 582), (228, 546), (228, 618)), YELLOW, ramp=(0, 170, 270))
    p.paint(body, ORANGE, ramp=(90, 550, 640))
    p.paint(both(body, p.circle(60, 582, 52)), CREAM, ramp=(90, 550, 650))
    for left in (130, 154):
        p.paint(both(body, p.box(left, 500, left + 13, 650)), BLUE, line=3, lasting=False)
    p.paint(p.circle(84, 575, 9), BLACK, line=0, lasting=False)


def render(seed: int = 4) -> Array:
    """Print the poster, (640, 768, 3) sRGB in [0, 1]."""
    rng = np.random.default_rng(seed)
    poster = Poster(rng)
    for part in (_sky, _town, _sea, _skiff, _boat, _waves, _fish, _accents):
        part(poster)
    return poster.finish(rng)
