"""Repaint a film: decode, paint and encode it in step."""

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.video.decode import Film, Frames, open_film
from jaxnst.video.encode import encoding


def repaint(
    source: AnyPath,
    output: AnyPath,
    paint: Callable[[Frames], npt.ArrayLike],
    *,
    film: Film,
    size: tuple[int, int],
    batch: int,
    on_progress: Callable[[int], None],
) -> tuple[str, ...]:
    """Write a film with other pictures; the file appears complete or not at all.

    Args:
      source: A film.
      output: The new film, ``.mp4``.
      paint: Maps pictures ``(batch, H, W, 3)`` to pictures of that shape. Its result is only
        read after the next call, so that it may still be computed on a device.
      film: From :func:`read_film`.
      size: ``(height, width)`` of the pictures, both even.
      batch: Pictures at a time, at least 1. The last batch is filled with its last picture.
      on_progress: Called with the number of pictures so far. An exception in it ends the work.

    Returns:
      Notices: that the film is cut short or damaged, or that pictures were scaled or clipped.

    Raises:
      ValueError: The film cannot be read, or MP4 cannot hold its sound.
      OSError: The result cannot be written; what was there before is unchanged.
    """
    with (
        _files.replacing(output) as temporary,
        open_film(source) as decoder,
        encoding(temporary, decoder, film, size) as encoder,
    ):
        decoder.on_sound = lambda packet: encoder.sounds[packet.stream.index].add(packet)
        painted: tuple[Any, list[Fraction]] | None = None
        done = 0
        for pictures, times in _batches(decoder.pictures(film, size), batch):
            following = paint(pictures), times
            if painted is not None:
                encoder.add_pictures(*painted)
            painted = following
            done += len(times)
            on_progress(done)
        if painted is not None:
            encoder.add_pictures(*painted)
    return tuple(decoder.notices.values())


def _batches(
    pictures: Iterator[tuple[Fraction, Frames]], size: int
) -> Iterator[tuple[Frames, list[Fraction]]]:
    """Yield batches of pictures, the last one filled with its last picture, and their times."""
    while batch := list(itertools.islice(pictures, size)):
        times, values = zip(*batch, strict=True)
        yield np.stack(values + values[-1:] * (size - len(times))), list(times)
