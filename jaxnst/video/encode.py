"""Write MP4 files of pictures, with the sound of another film: copied, or encoded as AAC."""

import contextlib
import errno
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.report.animation import add_h264_stream
from jaxnst.video.decode import (
    Decoder,
    Film,
    check_av,
    ffmpeg_reason,
    fraction,
    open_film,
    sound_streams,
)

ENDING = ".mp4"
"""File ending of films that are written."""

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
"""Errors of the system; others, EPERM too, are FFmpeg's about what it is to write."""

MP4_SOUND = ("aac", "mp3", "ac3", "eac3", "opus", "alac", "flac")
"""Codecs of sound that MP4 can hold."""

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
"""Layouts of AAC by the number of channels."""

GAP = Fraction(1, 10)
"""Seconds without sound from which it is a gap, more than inexact times."""


def check_film(path: AnyPath) -> None:
    """Check, before any work, that a film can be written.

    Raises:
      ModuleNotFoundError: PyAV is missing.
      ValueError: The ending is not ``.mp4``, or the file is a device or a pipe.
      OSError: The folder does not exist, or cannot be written to.
    """
    check_av()
    _files.ending_of(path, (ENDING,), usual=ENDING)
    _files.check_writable(path)


@contextlib.contextmanager
def encoding(path: str, source: Decoder, film: Film, size: tuple[int, int]) -> Iterator["Encoder"]:
    """Open a file for pictures of ``size``, and finish it at the end.

    Raises:
      OSError: The system cannot write it.
      ValueError: MP4 cannot hold the sound.
    """
    import av

    try:
        with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as target:
            encoder = Encoder(target, source, film, size)
            yield encoder
            encoder.flush()
    except av.FFmpegError as error:
        if error.errno in DISK_ERRORS:
            raise OSError(ffmpeg_reason(error)) from error
        raise ValueError(
            f"{source.name} cannot be written as MP4 ({ffmpeg_reason(error)}): convert it to MP4 "
            "with another program first"
        ) from error


class Encoder:
    """Encodes pictures of ``size`` to PyAV's container ``target``, with the sound of ``source``.

    Attributes:
      sounds: To which packets of sound are added, by the index of their stream in ``source``.
    """

    def __init__(self, target: Any, source: Decoder, film: Film, size: tuple[int, int]) -> None:
        self.target = target
        self.base = fraction(source.stream.time_base) or 1 / film.rate
        self.last = -math.inf
        # A film that begins late is shown from its first picture on.
        self.start = max(Fraction(0), Fraction(source.container.start_time or 0, 10**6))
        self.stream = add_h264_stream(target, film.rate.limit_denominator(100_000), size)
        context = self.stream.codec_context
        context.time_base = self.base
        # As the pictures are encoded: BT.709, 16 to 235.
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1
        context.sample_aspect_ratio = film.aspect
        is_mpegts = source.container.format.name == "mpegts"
        changing = _changing_aac(source.container.name) if is_mpegts else set()
        self.sounds: dict[int, CopiedSound | EncodedSound] = {}
        for stream in sound_streams(source.container):
            copied = _codec(stream) in MP4_SOUND and stream.index not in changing
            kind = CopiedSound if copied else EncodedSound
            self.sounds[stream.index] = kind(target, stream, self.start)

    def add_pictures(self, pictures: npt.ArrayLike, times: list[Fraction]) -> None:
        """Add pictures by the times at which they are shown, seconds; those without are ignored."""
        import av

        for values, time in zip(np.asarray(pictures), times, strict=False):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            frame.time_base = self.base
            self.last = max(round((time - self.start) / self.base), self.last + 1)
            frame.pts = self.last
            self.target.mux(self.stream.encode(frame))

    def flush(self) -> None:
        """Write what is left in the encoders."""
        self.target.mux(self.stream.encode(None))
        for sound in self.sounds.values():
            if isinstance(sound, EncodedSound):
                self.target.mux(sound.stream.encode(None))


class CopiedSound:
    """Copies packets of ``source`` to ``target``, ``start`` seconds earlier."""

    def __init__(self, target: Any, source: Any, start: Fraction) -> None:
        self.target, self.start = target, start
        self.stream = target.add_stream_from_template(source)
        self.last = -math.inf

    def add(self, packet: Any) -> None:
        """Add a packet; those at times that passed are left out, as two films may overlap."""
        if packet.dts is None or packet.dts <= self.last:
            return
        self.last = packet.dts
        ticks = round(self.start / (fraction(packet.time_base) or 1))
        packet.dts -= ticks
        if packet.pts is not None:
            packet.pts -= ticks
        packet.stream = self.stream
        self.target.mux(packet)


class EncodedSound:
    """Encodes sound of ``source`` as AAC, at the nearest rate, ``start`` seconds earlier."""

    def __init__(self, target: Any, source: Any, start: Fraction) -> None:
        import av

        self.target, self.start = target, start
        context = source.codec_context
        rates = av.Codec("aac", "w").audio_rates
        rate = min(rates, key=lambda rate: abs(rate - context.sample_rate))
        layout = LAYOUTS.get(context.layout.nb_channels, "stereo")
        self.stream = target.add_stream("aac", rate=rate, layout=layout)
        self.format: tuple[Any, ...] = ()
        self.time: Fraction | None = None  # seconds at which the sound so far ends

    def add(self, packet: Any) -> None:
        """Add a packet; one that cannot be decoded is left out."""
        import av

        try:
            frames = packet.decode()
        except av.FFmpegError:
            return
        context = self.stream.codec_context
        for frame in frames:
            sample_format = frame.format.name, frame.layout.name, frame.sample_rate
            if sample_format != self.format:  # it may change on the way
                self.format = sample_format
                self.resampler = av.AudioResampler(context.format, context.layout, context.rate)
            # Times are counted in samples, as those of packets may be coarse, up to a gap.
            stated = (self.time or 0) if frame.time is None else Fraction(frame.time) - self.start
            time = stated if self.time is None or stated > self.time + GAP else self.time
            if stated < time - GAP:  # of a time that passed
                continue
            frame.time_base = Fraction(1, frame.sample_rate)
            frame.pts = round(time * frame.sample_rate)
            self.time = time + Fraction(frame.samples, frame.sample_rate)
            for resampled in self.resampler.resample(frame):
                self.target.mux(self.stream.encode(resampled))


def _codec(stream: Any) -> str:
    return str(stream.codec_context.codec.canonical_name)


def _changing_aac(path: str) -> set[int]:
    """Find the streams of AAC in MPEG-TS whose rate or channels change on the way, by index.

    MP4 describes both once. In MPEG-TS every packet has a header (ADTS, ISO/IEC 13818-7, 6.2), of
    which bytes 2 and 3 hold profile, rate and channels.
    """
    import av

    formats: dict[int, set[tuple[int, int]]] = {}
    with open_film(path) as source, contextlib.suppress(av.FFmpegError, IndexError):
        streams = [s for s in sound_streams(source.container) if _codec(s) == "aac"]
        for packet in source.container.demux(*streams) if streams else ():
            head = bytes(packet)[:4]
            if len(head) == 4 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
                seen = formats.setdefault(packet.stream.index, set())
                seen.add((head[2] & 0xFD, head[3] & 0xC0))
    return {index for index, seen in formats.items() if len(seen) > 1}
