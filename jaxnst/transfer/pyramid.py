"""From coarse to fine: which sizes a run goes through, and how many evaluations each gets."""

import math
import numbers
from collections.abc import Sequence
from typing import NamedTuple

from jaxnst._checks import check
from jaxnst.image import fit
from jaxnst.recipes.schema import Scales

LEAST = 16
"""Least longest side of a result or a style, pixels: the stride of relu5_1."""

DISTORTION = 0.03
"""Most by which a side of a style is rounded, relative."""

ROUNDING = 1e-9
"""Relative tolerance: the fourth power of the root of 2 is not quite 4."""

Size = tuple[int, int]
"""Height and width, pixels."""


class Scale(NamedTuple):
    """One scale: its size, the sizes of the styles, the evaluations planned.

    With ``again`` it is a further pass at the size of the scale before.
    """

    inner: Size
    styles: tuple[Size, ...]
    evaluations: int
    again: bool = False


class Schedule(NamedTuple):
    """All scales, coarsest first, and the exact size of the result."""

    size: Size
    scales: tuple[Scale, ...]

    @property
    def work(self) -> list[int]:
        """How much work each scale is: pixels times evaluations, which is what takes time."""
        return [math.prod(scale.inner) * scale.evaluations for scale in self.scales]

    def share(self, scale: int, part: float) -> float:
        """Return how much of the work is done, 0 to 1, once ``part`` of a scale is."""
        work = self.work
        return min(1.0, (sum(work[:scale]) + part * work[scale]) / sum(work))


def make_schedule(
    content: Size,
    styles: Sequence[Size],
    scales: Scales,
    *,
    size: int | None = None,
    style_size: int | None = None,
) -> Schedule:
    """Lay out a run.

    Args:
      content: The content image's own size.
      styles: The style images' own sizes.
      scales: The recipe's.
      size: Longest side of the result; None: that of the recipe, else the content's own size.
      style_size: Longest side of the style images at the last scale; None: that of the result.

    Raises:
      ValueError: If a size is below 16 or not that of the last scale given, or styles cannot have a
        size of their own.
    """
    for name, value in (("size", size), ("style size", style_size)):
        whole = value is None or isinstance(value, numbers.Integral)
        check(name, repr(value), whole, "a whole number of pixels")
    result = result_size(content, scales, size)
    longest = max(result)
    if scales.style_like_content and (style_size is not None or scales.style_scale != 1):
        asked = (
            f"scale is {scales.style_scale:g}" if style_size is None else f"size is {style_size}"
        )
        raise ValueError(
            f"style {asked}, but this recipe stretches styles to the content's size: leave it out, "
            "or set style_like_content to false"
        )
    if style_size is not None and scales.style_scale != 1:
        raise ValueError(
            f"style size is {style_size} and style scale {scales.style_scale:g}: give either"
        )
    style_size = round(scales.style_scale * longest) if style_size is None else style_size
    for name, value in (("size", longest), ("style size", style_size)):
        if value < LEAST:
            raise ValueError(f"{name} is {value}, expected at least {LEAST} pixels")
    sides = _sides(scales, longest)
    again = [False] * len(sides)
    if scales.last_pass:
        sides, again = [*sides, sides[-1]], [*again, True]
    planned = _evaluations(scales, len(sides))

    def scale(side: float, count: int, again: bool) -> Scale:
        multiple = scales.multiple
        inner = _rounded(fit(result, round(side)), multiple)
        if scales.style_like_content:
            return Scale(inner, (inner,) * len(styles), count, again)
        shrunk = (_style(own, side * style_size / longest) for own in styles)
        of_styles = tuple((_nearly(h, multiple), _nearly(w, multiple)) for h, w in shrunk)
        return Scale(inner, of_styles, count, again)

    return Schedule(result, tuple(map(scale, sides, planned, again)))


def continued(schedule: Schedule, done: Sequence[int], steps: int | None) -> Schedule:
    """Plan the remaining evaluations of a run that has taken some of them.

    Scales that have ended keep what they had, and the current one gets no less than it has had.
    ``done`` has the evaluations of each scale that has begun. Of ``steps`` the last scale gets what
    the others leave, at least one; a run that has taken that many has no further scales. None: as
    many as the scales have.

    Example:
      >>> scales = tuple(Scale((side, side), (), count) for side, count in ((32, 9), (64, 5)))
      >>> [s.evaluations for s in continued(Schedule((64, 64), scales), [9, 5], 20).scales]
      [9, 11]
    """
    index, scales = len(done) - 1, schedule.scales
    counts = [*done[:-1], *(scale.evaluations for scale in scales[index:])]
    counts[index] = max(counts[index], done[-1])
    if steps is not None and sum(done) >= steps:
        counts = list(done)
    elif steps is not None:
        counts[-1] = max(1, steps - sum(counts[:-1]))
    pairs = zip(scales, counts, strict=False)
    planned = tuple(scale._replace(evaluations=count) for scale, count in pairs)
    return schedule._replace(scales=planned)


def _sides(scales: Scales, longest: int) -> list[float]:
    """List the longest sides of all scales, coarsest first."""
    if scales.sides:
        return [float(side) for side in scales.sides]
    sides, coarser = [float(longest)], scales.several or scales.sides is not None
    while coarser and sides[0] / scales.factor >= scales.least * (1 - ROUNDING):
        sides.insert(0, sides[0] / scales.factor)
    return [*(min(side + scales.extra, sides[-1]) for side in sides[:-1]), sides[-1]]


def result_size(content: Size, scales: Scales, size: int | None) -> Size:
    """Work out the size of the result; see :func:`make_schedule`."""
    height, width = shape = content
    aspect = scales.aspect
    if aspect is not None:
        if (aspect - 1) * (width - height) < 0:  # one is upright and the other is not
            aspect = 1 / aspect
        shape = (  # the largest picture of that aspect inside the content
            max(1, round(min(height, width / aspect))),
            max(1, round(min(width, height * aspect))),
        )
    if scales.sides:
        last = scales.sides[-1]
        if size not in (None, last):
            raise ValueError(f"size is {size}, but the scales end at {last}: leave out one of them")
        size = last
    if size is None and scales.size is not None:
        longest = min(scales.size, max(content)) if scales.side == "shortest" else scales.size
        shortest = scales.side == "shortest"
        # As torchvision does, which cuts off what is beyond a whole pixel.
        size = longest * max(shape) // min(shape) if shortest else longest
    size = max(shape) if size is None else size
    if size < 1:
        raise ValueError(f"size is {size}, expected at least {LEAST} pixels")
    if aspect is None:
        return fit(shape, size)
    tall = aspect < 1
    other = max(1, round(size * aspect if tall else size / aspect))
    return (size, other) if tall else (other, size)


def _rounded(size: Size, multiple: int) -> Size:
    height, width = (max(LEAST, round(side / multiple) * multiple) for side in size)
    return height, width


def _style(own: Size, longest: float) -> Size:
    """Shrink a style to ``longest``, never enlarge it; a very long one keeps 16 pixels across."""
    height, width = fit(own, min(max(1, round(longest)), max(own)))
    return max(LEAST, height), max(LEAST, width)


def _nearly(side: int, multiple: int) -> int:
    """Round a side to a multiple of twice, once or half of ``multiple``, whichever first fits."""
    for step in (2 * multiple, multiple, multiple // 2) if multiple > 1 else ():
        near = round(side / step) * step
        if near >= LEAST and abs(near - side) <= DISTORTION * side:
            return near
    return side


def _evaluations(scales: Scales, count: int) -> list[int]:
    """Share out evaluations over ``count`` scales, at least one each."""
    last = [scales.last_pass] if scales.last_pass else []
    counts = list(scales.evaluations[: count - len(last)])
    counts += [counts[-1]] * (count - len(counts) - len(last)) + last
    if scales.steps is None:
        return counts
    if scales.steps < count:
        raise ValueError(
            f"steps is {scales.steps}, expected at least {count}, one for each of {count} scales"
        )
    total, spare = sum(counts), scales.steps - count
    shares = [1 + spare * g // total for g in counts]
    by_remainder = sorted(range(count), key=lambda i: -(spare * counts[i] % total))
    for i in by_remainder[: scales.steps - sum(shares)]:
        shares[i] += 1
    return shares
