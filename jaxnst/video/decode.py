"""Decode films to upright sRGB pictures; packets of sound are handed over undecoded.

Numbers of matrices, transfer characteristics and primaries are those of ITU-T H.273.
"""

import contextlib
import functools
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.image import fit
from jaxnst.image.color import HDR, HLG, PQ, PRIMARIES, from_linear, matrix_to_srgb, to_linear

Frames = npt.NDArray[np.uint8]
"""Pictures of a film, upright: ``(B, H, W, 3)``."""

ENDINGS = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".3gp", ".wmv", ".flv", ".ogv"),
)
"""File endings of films, in lower case."""

BT709, UNSPECIFIED, BT601, BT2020, P3 = 1, 2, 5, 9, 12
"""Matrices and primaries (H.273, tables 4 and 2)."""

NO_MATRIX = {0, UNSPECIFIED, 3}
"""Numbers that name no matrix; 0 is that of RGB."""

MATRICES = NO_MATRIX | {BT709, 4, BT601, 6, 7, BT2020}
"""Matrices that FFmpeg converts from."""

WHITE = 203.0
"""Luminance of HDR reference white, cd/m2 (ITU-R BT.2408, table 1), which becomes white."""

TOP = 255 * 256
"""Level of white in the 16 bits that FFmpeg makes of level 940 of 1023. Where white is 1023, it
makes 65535, a 256th more."""

RESTART = Fraction(1, 10)
"""Seconds by which times fall where they start again; smaller steps back are normal."""

DECLARING = {"mp4", "matroska", "avi", "asf", "flv"}
"""FFmpeg's names of containers that declare a duration; that of others is estimated."""


@dataclass(frozen=True)
class Film:
    """What is known of a film before it is decoded.

    Attributes:
      size: Of its pictures, upright, ``(height, width)``.
      rate: Pictures per second, on average.
      count: About how many pictures there should be, None if unknown.
      aspect: Width of a pixel, upright, divided by its height.
    """

    size: tuple[int, int]
    rate: Fraction
    count: int | None
    aspect: Fraction = Fraction(1)

    @property
    def shown(self) -> tuple[int, int]:
        """Size in square pixels, ``(height, width)``."""
        return _square_pixels(self.size, self.aspect)

    def fitting(self, longest: int | None) -> tuple[int, int]:
        """Return the size with even sides whose longest side is at most ``longest``."""
        size = self.size if longest is None else fit(self.size, min(longest, max(self.size)))
        height, width = (max(2, side // 2 * 2) for side in size)
        return height, width


class Orientation(NamedTuple):
    """How to set a picture upright: swap rows and columns, then reverse them where a step is -1."""

    swap: bool = False
    row_step: int = 1
    column_step: int = 1

    def size(self, frame: Any) -> tuple[int, int]:
        """Return the upright size of a frame, ``(height, width)``."""
        return (frame.width, frame.height) if self.swap else (frame.height, frame.width)


class Timeline:
    """Times that continue where those of a file start again, as in films joined end to end.

    One shift serves pictures and sound, so that they stay in step: it begins where the longer of
    them ended.

    Attributes:
      ends: When the last packet of each stream ends, seconds, by the index of the stream.
    """

    def __init__(self) -> None:
        self.shift = Fraction(0)
        self.ends: dict[int, Fraction] = {}
        self.shifts: dict[int, Fraction] = {}
        self.last: dict[int, Fraction] = {}

    def move(self, packet: Any) -> None:
        """Shift the times of a packet; packets come in the order of the file."""
        base, stream = fraction(packet.time_base), packet.stream.index
        if base is None or packet.dts is None:
            return
        time = packet.dts * base
        shown = time if packet.pts is None else packet.pts * base
        end = max([Fraction(0), *self.ends.values()])
        # After a restart that another stream showed, a packet from before it may still come.
        shift = min(
            (self.shift, self.shifts.get(stream, Fraction(0))),
            key=lambda shift: abs(time + shift - end),
        )
        if shift == self.shift and time + shift < self.last.get(stream, time + shift) - RESTART:
            shift = self.shift = end - shown
        self.shifts[stream], self.last[stream] = shift, time + shift
        packet_end = shown + shift + (packet.duration or 0) * base
        self.ends[stream] = max(self.ends.get(stream, packet_end), packet_end)
        packet.dts += round(shift / base)
        if packet.pts is not None:
            packet.pts += round(shift / base)


class Decoder:
    """Decodes the pictures of an open film once, in order.

    Attributes:
      container: PyAV's container.
      stream: Its stream of pictures.
      on_sound: Called with every packet of sound, an empty one at the end.
      notices: What the user should know of the film, by topic: that colors or sizes were
        converted, that parts are damaged or missing.
    """

    def __init__(self, name: str, container: Any, stream: Any) -> None:
        self.name, self.container, self.stream = name, container, stream
        self.on_sound: Callable[[Any], None] = lambda _: None
        self.notices: dict[str, str] = {}
        self.damaged, self.stopped, self.timeline = 0, False, Timeline()

    def frames(self) -> Iterator[tuple[Any, Orientation]]:
        """Yield PyAV's frames with their orientation; pass packets of sound on.

        An orientation holds until the next one or a key frame. It comes as a display matrix
        ``a b u c d v x y w``: ``(x, y)`` is shown at ``(a x + c y, b x + d y)`` (ISO/IEC 14496-12,
        6.2.2); the nearest of the eight with upright edges is used.
        """
        import av
        from av.sidedata.sidedata import Type

        orientation = Orientation()
        packets = self.container.demux(self.stream, *sound_streams(self.container))
        while True:
            try:
                packet = next(packets)
            except (StopIteration, IndexError):  # PyAV's, at the end of streams that begin late
                return
            except av.FFmpegError:
                self.stopped = True
                return
            self.timeline.move(packet)
            if packet.stream is not self.stream:
                if not packet.is_corrupt:
                    self.on_sound(packet)
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                matrix = frame.side_data.get(Type.DISPLAYMATRIX)
                if matrix is not None:
                    a, b, _, c, d, *_ = (int(n) for n in np.frombuffer(matrix, np.int32))
                    swap = abs(b) + abs(c) > abs(a) + abs(d)
                    signs = (b, c) if swap else (d, a)
                    orientation = Orientation(swap, *(-1 if n < 0 else 1 for n in signs))
                elif frame.key_frame:
                    orientation = Orientation()
                yield frame, orientation

    def pictures(self, film: Film, size: tuple[int, int]) -> Iterator[tuple[Fraction, Frames]]:
        """Yield the time of every picture, seconds, and the picture itself, of ``(height, width)``.

        Those of other proportions than the first have black bars.
        """
        context, count = self.stream.codec_context, 0
        time = -1 / film.rate
        stated = fraction(self.stream.sample_aspect_ratio) or Fraction(1)
        for frame, orientation in self.frames():
            base = fraction(frame.time_base)
            time = time + 1 / film.rate if frame.pts is None or base is None else frame.pts * base
            # Between key frames the decoder's aspect may be that of a later picture.
            if count == 0 or frame.key_frame:
                coded = fraction(context.sample_aspect_ratio) or Fraction(1)
            if count == 0:
                first_time, first_coded = time, coded
            aspect = stated * coded / first_coded
            aspect = 1 / aspect if orientation.swap else aspect
            shown = _square_pixels(orientation.size(frame), aspect)
            if shown != film.shown:
                self.notices.setdefault(
                    "size",
                    f"{self.name} changes its size at {float(time - first_time):.1f} s, from "
                    f"{film.shown[1]}x{film.shown[0]} to {shown[1]}x{shown[0]}: all pictures were "
                    "scaled to fit the first",
                )
            tagged = frame if hasattr(frame, "color_trc") else context  # old versions of PyAV
            transfer, primaries = int(tagged.color_trc), int(tagged.color_primaries)
            if transfer in HDR:
                self.notices.setdefault(
                    "hdr",
                    f"{self.name} is {HDR[transfer]}, converted to sRGB: what is brighter than its "
                    f"reference white ({WHITE:.0f} cd/m2) is clipped",
                )
            count += 1
            inner = _fit_within(shown, film.shown, size)
            yield time, _picture(frame, orientation, transfer, primaries, inner, size)
        if self.damaged:
            self.notices["damaged"] = (
                f"{self.name} is damaged: {self.damaged} pieces of it were left out"
            )
        if self.stopped or self._is_short():
            of = f" of {film.count}" if film.count and count < film.count else ""
            self.notices["cut"] = (
                f"{self.name} is cut short: the {count}{of} pictures that are there were painted"
            )

    def _is_short(self) -> bool:
        """Return whether less was decoded than the file declares, by over 0.5 s and 2 %."""
        kinds = set(self.container.format.name.split(","))
        if not kinds & DECLARING:
            return False
        ends = self.timeline.ends
        duration = _duration(self.stream)
        if duration and "asf" not in kinds:  # whose pictures have the duration of the whole
            begin = (self.stream.start_time or 0) * (fraction(self.stream.time_base) or 0)
            declared, end = begin + duration, ends.get(self.stream.index, Fraction(0))
        else:
            declared = Fraction(self.container.duration or 0, 10**6)
            end = max(ends.values(), default=Fraction(0))
        return declared - end > max(Fraction(1, 2), declared / 50)


def read_film(path: AnyPath) -> Film:
    """Read what a film's header states, and its first picture.

    Raises:
      FileNotFoundError: There is no such file.
      ModuleNotFoundError: PyAV is missing.
      ValueError: It is not a film, holds no pictures, or the first cannot be decoded.
    """
    with open_film(path) as decoder:
        stream = decoder.stream
        frame, orientation = next(decoder.frames(), (None, Orientation()))
        if frame is None:
            raise ValueError(
                f"{decoder.name} has no frame that can be read: get a complete copy of it"
            )
        matrix = int(frame.colorspace)
        if matrix not in MATRICES:
            raise ValueError(
                f"{decoder.name} has colors that cannot be read (matrix {matrix} of H.273): "
                "convert it to BT.709 with another program first"
            )
        rate = fraction(stream.average_rate) or fraction(stream.base_rate) or Fraction(25)
        count = stream.frames or max(0, math.floor(_duration(stream) * rate))
        aspect = fraction(stream.sample_aspect_ratio) or Fraction(1)
        aspect = 1 / aspect if orientation.swap else aspect
        return Film(orientation.size(frame), rate, count or None, aspect)


@contextlib.contextmanager
def open_film(path: AnyPath) -> Iterator[Decoder]:
    """Open a film.

    Raises:
      ModuleNotFoundError: PyAV is missing.
      FileNotFoundError: There is no such file.
      ValueError: It is not a film, or one without pictures.
    """
    check_av()
    import av

    name = _files.name_of(path)
    _files.check_source(path)
    try:
        container = av.open(os.path.abspath(path))  # FFmpeg takes "12:30.mp4" for an address
    except (av.FFmpegError, UnicodeError) as error:
        raise ValueError(
            f"{name} is not a film that can be read ({ffmpeg_reason(error)}): check the file, or "
            "convert it to MP4"
        ) from None
    with container:
        covers = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & covers]
        if not streams or streams[0].codec_context is None:
            raise ValueError(f"{name} has no video that can be read: check the file")
        streams[0].thread_type = "AUTO"
        yield Decoder(name, container, streams[0])


def check_av() -> None:
    """Raise ModuleNotFoundError if PyAV is missing."""
    if find_spec("av") is None:
        raise ModuleNotFoundError("films need PyAV: pip install 'jaxnst[watch]'")


def sound_streams(container: Any) -> list[Any]:
    """List the streams of sound, without those that are declared and hold nothing: no rate."""
    streams = container.streams.audio
    return [s for s in streams if s.codec_context is not None and s.codec_context.sample_rate]


def fraction(value: Any) -> Fraction | None:
    """Convert a rational number of PyAV, of whatever class; None if it is None or 0."""
    return Fraction(value.numerator, value.denominator) if value else None


def ffmpeg_reason(error: Exception) -> str:
    """Return FFmpeg's message without its error number."""
    return getattr(error, "strerror", None) or _files.reason(error)


def _duration(stream: Any) -> Fraction:
    """Return the declared duration of the pictures alone, seconds, 0 if unknown.

    The whole film may be longer, as sound may go on. Of AVI FFmpeg estimates the duration from the
    length of the file, but the number of pictures is declared; Matroska has a tag with their end.
    """
    base = fraction(stream.time_base) or Fraction(0)
    if stream.duration:
        rate = fraction(stream.average_rate)
        return max(stream.duration * base, stream.frames / rate if rate else Fraction(0))
    tags = (value for key, value in stream.metadata.items() if key.startswith("DURATION"))
    clock = re.fullmatch(r"(\d{1,9}):(\d\d):(\d\d(?:\.\d{1,9})?)", next(tags, ""))
    if clock is None:
        return Fraction(0)
    hours, minutes, seconds = map(Fraction, clock.groups())
    return 3600 * hours + 60 * minutes + seconds - (stream.start_time or 0) * base


def _square_pixels(size: tuple[int, int], aspect: Fraction) -> tuple[int, int]:
    """Return a size ``(height, width)`` in square pixels."""
    return size[0], max(1, round(size[1] * aspect))


def _fit_within(
    shown: tuple[int, int], first: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int]:
    """Return the size of an undistorted picture that fits where the first one is.

    ``shown`` is its size in square pixels, and ``size`` that to which the first is brought.
    """
    height, width = size
    stretch = Fraction(shown[1] * first[0], shown[0] * first[1])  # 1: of the same proportions
    if abs(stretch - 1) <= Fraction(1, 50):  # no bars for so little
        return size
    if stretch > 1:
        return max(1, round(height / stretch)), width
    return height, max(1, round(width * stretch))


def _picture(
    frame: Any,
    orientation: Orientation,
    transfer: int,
    primaries: int,
    inner: tuple[int, int],
    size: tuple[int, int],
) -> Frames:
    """Convert a frame to sRGB, upright, at ``inner`` size within black bars up to ``size``."""
    matrices = {}
    if not frame.format.is_rgb and len(frame.format.components) >= 3:
        matrix = int(frame.colorspace)
        if matrix in NO_MATRIX:
            matrix = BT709 if min(frame.height, frame.width) >= 720 else BT601
            if transfer in HDR or primaries == BT2020:
                matrix = BT2020
        matrices = {  # named, as old versions of PyAV ignore the frame's tags
            "src_colorspace": matrix,
            "src_color_range": int(frame.color_range) or 1,  # levels 16 to 235
            # Of RGB only the range counts, but FFmpeg converts nothing between equal matrices.
            "dst_colorspace": BT709 if matrix == BT601 else BT601,
            "dst_color_range": 2,  # 0 to 255
        }
    convert = transfer in HDR or primaries in (BT2020, P3)
    height, width = inner[::-1] if orientation.swap else inner
    values = frame.to_ndarray(
        format="rgb48le" if convert else "rgb24",
        width=width,
        height=height,
        interpolation="BICUBIC",
        **matrices,
    )
    values = to_srgb(values, transfer, primaries) if convert else values
    values = values.swapaxes(0, 1) if orientation.swap else values
    values = values[:: orientation.row_step, :: orientation.column_step]
    if inner == size:
        return values
    picture = np.zeros((*size, 3), np.uint8)
    top, left = ((outer - side) // 2 for outer, side in zip(size, inner, strict=True))
    picture[top : top + inner[0], left : left + inner[1]] = values
    return picture


def to_srgb(levels: npt.NDArray[np.uint16], transfer: int, primaries: int) -> npt.NDArray[np.uint8]:
    """Convert a picture in HLG, PQ or wide primaries to sRGB.

    Light is relative to the film's white, of HLG and PQ to their reference white, so that it may
    exceed 1. What sRGB cannot show, brighter or more saturated, is clipped.

    Args:
      levels: R'G'B' with 16 bits, ``(H, W, 3)``; white is TOP.
      transfer: Number of its curve. Others than HLG and PQ are taken for sRGB's, as BT.709 is.
      primaries: Their number; HLG and PQ without primaries have those of BT.2020.
    """
    light = _light(transfer)[levels]
    if transfer == HLG:  # scene light to that of a display of 1000 cd/m2: BT.2100, table 5, OOTF
        luma = light @ np.array((0.2627, 0.6780, 0.0593), np.float32)
        light *= 1000 / WHITE * luma[..., None] ** np.float32(1.2 - 1)
    if transfer in HDR and primaries == UNSPECIFIED:
        primaries = BT2020
    if primaries in (BT2020, P3):
        light = light @ matrix_to_srgb(PRIMARIES[primaries]).T.astype(np.float32)
    return _srgb_levels()[np.rint(65535 * light.clip(0, 1)).astype(np.uint16)]


@functools.cache
def _light(transfer: int) -> npt.NDArray[np.float32]:
    """Tabulate the light of all levels; of HLG that of the scene, up to 1."""
    signal = np.minimum(np.arange(65536) / TOP, 1)
    if transfer == PQ:  # the EOTF of BT.2100, table 4
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = signal ** (1 / m2)
        light = 10000 / WHITE * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    elif transfer == HLG:  # the inverse OETF of BT.2100, table 5
        a = 0.17883277
        b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        light = to_linear(signal)
    return light.astype(np.float32)


@functools.cache
def _srgb_levels() -> npt.NDArray[np.uint8]:
    """Tabulate the levels of sRGB by light, 0 to 65535."""
    return np.rint(255 * from_linear(np.arange(65536) / 65535)).astype(np.uint8)
