"""A film with its pictures changed: read, painted and written in step."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.image.color import HDR
from jaxnst.video.colors import WHITE
from jaxnst.video.ends import cut_off
from jaxnst.video.reading import (
    Faults,
    Film,
    Frames,
    announced,
    color_numbers,
    decoded,
    fraction,
    opened,
    oriented,
    picture,
    stretched,
    within,
)
from jaxnst.video.writing import Writer, writing

NEAR = Fraction(1, 4)
"""Seconds by which the end that a film announces may be wrong, beside a fiftieth of it."""


def repaint(
    source: AnyPath,
    output: AnyPath,
    paint: Callable[[Frames], npt.ArrayLike],
    *,
    film: Film,
    size: tuple[int, int],
    batch: int,
    tell: Callable[[int], None],
) -> tuple[str, ...]:
    """Write a film anew with other pictures, at once or not at all.

    Args:
      source: A film.
      output: Where to, ``.mp4``.
      paint: Makes pictures of pictures, always ``batch`` of them; what it returns is only looked at
        while the next ones are painted, so that it may be on its way.
      film: From :func:`read_film`.
      size: ``(height, width)`` that pictures are brought to before; both even.
      batch: Pictures at a time, at least 1.
      tell: Called with the number of pictures that are done. What it raises ends the work.

    Returns:
      What a person should know: that the film was cut short, that something was left out, or that
      pictures were scaled or clipped.

    Raises:
      ValueError: MP4 does not hold what is there.
      OSError: The result cannot be written; what was there before is unchanged.
    """
    faults = Faults()
    with (
        _files.replacing(output) as temporary,
        opened(source) as (container, stream),
        writing(temporary, source) as target,
    ):
        writer = Writer(target, container, stream, film, size)
        faults.cut, end = cut_off(source, container.format.name), announced(container, stream)
        frames = decoded(container, stream, writer.sound, faults)
        pictures = _pictures(frames, stream, film, size, faults)
        on_the_way: tuple[Any, list[Fraction]] | None = None
        done = 0
        for batched, times in _batches(pictures, film, batch):
            painted = paint(batched)
            if on_the_way is not None:
                writer.pictures(*on_the_way)
            on_the_way = painted, times
            done += len(times)
            tell(done)
        if on_the_way is not None:
            writer.pictures(*on_the_way)
        writer.end()
    faults.cut |= faults.until + end / 50 + NEAR < end
    return tuple(_notices(source, film, faults, done))


def _pictures(
    frames: Iterator[Any], stream: Any, film: Film, size: tuple[int, int], faults: Faults
) -> Iterator[tuple[Any, Frames]]:
    """Convert pictures to those that are painted, and note what of them is changed."""
    context = stream.codec_context
    pixel = stated = fraction(stream.sample_aspect_ratio) or Fraction(1)
    begin: tuple[float, Fraction] | None = None
    for frame, orientation in oriented(frames):
        if begin is None or frame.key_frame:  # what is decoded already may be some pictures ahead
            coded = fraction(context.sample_aspect_ratio) or Fraction(1)
            begin = begin or (frame.time or 0.0, coded)
            pixel = stated * coded / begin[1]
        aspect = 1 / pixel if orientation.turned else pixel
        shown = stretched(orientation.size(frame), aspect)
        if faults.resized is None and shown != film.shown:
            faults.resized = (frame.time or 0.0) - begin[0], shown
        colors = color_numbers(frame, context)
        faults.hdr = faults.hdr or HDR.get(colors[0])
        inner = within(shown, film.shown, size)
        yield frame, picture(frame, orientation, colors, inner, size)


def _batches(
    frames: Iterator[tuple[Any, Frames]], film: Film, count: int
) -> Iterator[tuple[Frames, list[Fraction]]]:
    """Collect pictures and their times, seconds; the last batch is filled with its last picture."""
    pictures: list[Frames] = []
    times: list[Fraction] = []
    last = -1 / film.rate
    for frame, values in frames:
        base = fraction(frame.time_base)
        last = last + 1 / film.rate if frame.pts is None or base is None else frame.pts * base
        pictures.append(values)
        times.append(last)
        if len(times) == count:
            yield np.stack(pictures), times
            pictures, times = [], []
    if times:
        yield np.stack(pictures + pictures[-1:] * (count - len(times))), times


def _notices(source: AnyPath, film: Film, faults: Faults, done: int) -> Iterator[str]:
    name = _files.name_of(source)
    if faults.hdr:
        yield (
            f"{name} is {faults.hdr}, converted to sRGB: what is brighter than its reference white "
            f"({WHITE:.0f} cd/m2) is clipped"
        )
    if faults.resized:
        time, (height, width) = faults.resized
        first = f"{film.shown[1]}x{film.shown[0]}"
        yield (
            f"{name} changes its size at {time:.1f} s, from {first} to {width}x{height}: "
            "all pictures were scaled to fit the first"
        )
    if faults.packets:
        yield f"{name} is damaged: {faults.packets} pieces of it were left out"
    if faults.cut:
        of = f" of {film.count}" if film.count and done < film.count else ""
        yield f"{name} is cut short: the {done}{of} pictures that are there were painted"
