"""Packets of sound, from one file to another: as they are, or encoded anew."""

import contextlib
import math
from fractions import Fraction
from typing import Any

from jaxnst.film.reading import fraction

HELD = ("aac", "mp3", "ac3", "eac3", "opus", "alac", "flac")
"""Sound that MP4 holds."""


def sound_like(target: Any, heard: Any, start: Fraction) -> "Passed | Encoded":
    """Add a stream of sound to a file.

    Args:
      target: PyAV's container of it.
      heard: The stream whose packets are going to be taken.
      start: How much earlier they are heard, seconds.
    """
    if heard.codec_context.codec.canonical_name in HELD:
        return Passed(target, heard, start)
    return Encoded(target, heard, start)


class Passed:
    """Sound as it is. Arguments as of :func:`sound_like`."""

    def __init__(self, target: Any, heard: Any, start: Fraction) -> None:
        self.target, self.start = target, start
        self.stream = target.add_stream_from_template(heard)
        self.last = -math.inf

    def take(self, packet: Any) -> None:
        """Take a packet, or the empty one at the end."""
        # Where films were joined, the sound of one may reach into the next: heard once.
        if packet.dts is None or packet.dts <= self.last:
            return
        self.last = packet.dts
        ticks = round(self.start / (fraction(packet.time_base) or 1))
        packet.dts -= ticks
        if packet.pts is not None:
            packet.pts -= ticks
        packet.stream = self.stream
        self.target.mux(packet)

    def end(self) -> None:
        """Do nothing: nothing was kept back."""


class Encoded:
    """Sound as AAC. Arguments as of :func:`sound_like`."""

    def __init__(self, target: Any, heard: Any, start: Fraction) -> None:
        self.target, self.start = target, start
        self.rate = heard.codec_context.sample_rate
        self.stream = target.add_stream("aac", rate=self.rate)
        self.at: int | None = None

    def take(self, packet: Any) -> None:
        """Take a packet, or the empty one at the end."""
        import av

        with contextlib.suppress(av.error.InvalidDataError):  # a piece less
            for frame in packet.decode():
                # Counted in samples from the first: times of packets may be coarse.
                if self.at is None:
                    self.at = round((Fraction(frame.time or 0) - self.start) * self.rate)
                frame.time_base, frame.pts = Fraction(1, self.rate), self.at
                self.at += frame.samples
                self.target.mux(self.stream.encode(frame))

    def end(self) -> None:
        """Write what the encoder has kept back."""
        self.target.mux(self.stream.encode(None))
