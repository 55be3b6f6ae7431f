"""From coarse to fine: which sizes a run goes through, and how many evaluations each gets."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxnst.config import Scales
from jaxnst.image import Box, fit

MULTIPLE = 16
"""Sides inside are multiples of this, the stride of relu5_1, so that no pooling drops a row."""

Size = tuple[int, int]
"""Height and width, pixels."""


class Scale(NamedTuple):
    """One scale: the size inside, the sizes of the style images, and the evaluations planned."""

    inner: Size
    styles: tuple[Size, ...]
    evaluations: int


class Schedule(NamedTuple):
    """All scales, coarsest first, the exact size of the result, and the margin around it.

    The margin is in pixels of the result. Every scale's inner size contains it.
    """

    size: Size
    scales: tuple[Scale, ...]
    margin: float

    def with_margin(self, own: Size) -> Box:
        """Return which part of a whole picture of some size a scale shows: it and around it."""
        (height, width), (h, w) = own, self.size
        above, before = self.margin * height / h, self.margin * width / w
        return -above, -before, height + above, width + before

    def without_margin(self, inner: Size) -> Box:
        """Return which part of a scale's picture is left when the margin is cut off."""
        (height, width), (h, w) = inner, self.size
        above = height * self.margin / (h + 2 * self.margin)
        before = width * self.margin / (w + 2 * self.margin)
        return above, before, height - above, width - before


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
      size: Longest side of the result; None: the content's own.
      style_size: Longest side of the style images at the last scale; None: ``size``.

    Raises:
      ValueError: If a size is not at least 16.
    """
    size = max(content) if size is None else size
    style_size = size if style_size is None else style_size
    for name, value in (("size", size), ("style size", style_size)):
        if value < MULTIPLE:
            raise ValueError(f"{name} is {value}, expected at least {MULTIPLE} pixels")
    sides = [float(size)]
    while sides[0] / scales.factor >= scales.least:
        sides.insert(0, sides[0] / scales.factor)
    planned = _evaluations(scales, len(sides))
    return Schedule(
        size=fit(content, size),
        scales=tuple(
            Scale(
                inner=_rounded(fit(content, round(side)), scales.margin * side),
                styles=tuple(_style(own, side * style_size / size) for own in styles),
                evaluations=count,
            )
            for side, count in zip(sides, planned, strict=True)
        ),
        margin=scales.margin * size,
    )


def _rounded(size: Size, margin: float) -> Size:
    sides = (side + 2 * margin for side in size)
    height, width = (max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE) for side in sides)
    return height, width


def _style(own: Size, longest: float) -> Size:
    """Shrink a style to ``longest``, never enlarge it; a very long one keeps 16 pixels across."""
    height, width = fit(own, min(max(1, round(longest)), max(own)))
    return max(MULTIPLE, height), max(MULTIPLE, width)


def _evaluations(scales: Scales, count: int) -> list[int]:
    """Share out evaluations over ``count`` scales, at least one each."""
    given = list(scales.evaluations[:count])
    given += [given[-1]] * (count - len(given))
    if scales.steps is None:
        return given
    if scales.steps < count:
        raise ValueError(
            f"steps is {scales.steps}, expected at least {count}, one for each of {count} scales"
        )
    total, spare = sum(given), scales.steps - count
    shares = [1 + spare * g // total for g in given]
    by_remainder = sorted(range(count), key=lambda i: -(spare * given[i] % total))
    for i in by_remainder[: scales.steps - sum(shares)]:
        shares[i] += 1
    return shares
