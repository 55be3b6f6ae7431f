"""Packets of sound, from one file to another: as they are, or encoded anew."""

import contextlib
import math
from fractions import Fraction
from typing import Any

from jaxnst._files import AnyPath
from jaxnst.video.reading import fraction, opened, sounds

HELD = ("aac", "mp3", "ac3", "eac3", "opus", "alac", "flac")
"""Sound that MP4 holds."""

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
"""Of AAC, by the number of channels."""

GAP = Fraction(1, 10)
"""Seconds that are missing, and not only the inexactness of times."""


def changing(path: AnyPath) -> set[int]:
    """Return the indices of those streams of AAC whose rate or channels change on the way.

    MPEG-TS has a header in every packet (ADTS, ISO/IEC 13818-7, 6.2), of which bytes 2 and 3 hold
    profile, rate and channels; MP4 has one for all.
    """
    import av

    first: dict[int, tuple[int, int]] = {}
    changed = set[int]()
    with opened(path) as (container, _), contextlib.suppress(av.FFmpegError, IndexError):
        streams = [s for s in sounds(container) if s.codec_context.codec.canonical_name == "aac"]
        if container.format.name != "mpegts" or not streams:
            return changed
        for packet in container.demux(*streams):
            head = bytes(packet)[:4]
            if len(head) == 4 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
                kind, index = (head[2] & 0xFD, head[3] & 0xC0), packet.stream.index
                if first.setdefault(index, kind) != kind:
                    changed.add(index)
    return changed


def sound_like(target: Any, heard: Any, start: Fraction, *, changes: bool) -> "Passed | Encoded":
    """Add a stream of sound to a file.

    Args:
      target: PyAV's container of it.
      heard: The stream whose packets are going to be taken.
      start: How much earlier they are heard, seconds.
      changes: Whether they change in a way that MP4 cannot hold.
    """
    if not changes and heard.codec_context.codec.canonical_name in HELD:
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
    """Sound as AAC, at the nearest rate that there is. Arguments as of :func:`sound_like`."""

    def __init__(self, target: Any, heard: Any, start: Fraction) -> None:
        import av

        self.target, self.start = target, start
        context = heard.codec_context
        rates = av.Codec("aac", "w").audio_rates
        rate = min(rates, key=lambda rate: abs(rate - context.sample_rate))
        layout = LAYOUTS.get(context.layout.nb_channels, "stereo")
        self.stream = target.add_stream("aac", rate=rate, layout=layout)
        self.kind: tuple[Any, ...] = ()
        self.at: Fraction | None = None  # seconds

    def take(self, packet: Any) -> None:
        """Take a packet, or the empty one at the end."""
        import av

        try:
            frames = packet.decode()
        except av.FFmpegError:  # a piece less
            return
        context = self.stream.codec_context
        for frame in frames:
            kind = frame.format.name, frame.layout.name, frame.sample_rate
            if kind != self.kind:  # it may change on the way
                self.kind = kind
                self.resampler = av.AudioResampler(context.format, context.layout, context.rate)
            # Counted in samples, as times of packets may be coarse; after a gap, from there anew.
            time = (self.at or 0) if frame.time is None else Fraction(frame.time) - self.start
            at = time if self.at is None or time > self.at + GAP else self.at
            if time < at - GAP:  # a time that is there already
                continue
            frame.time_base = Fraction(1, frame.sample_rate)
            frame.pts = round(at * frame.sample_rate)
            self.at = at + Fraction(frame.samples, frame.sample_rate)
            for resampled in self.resampler.resample(frame):
                self.target.mux(self.stream.encode(resampled))

    def end(self) -> None:
        """Write what the encoder has kept back."""
        self.target.mux(self.stream.encode(None))
