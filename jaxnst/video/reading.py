"""Files -> the pictures of films, upright, and packets of sound."""

import contextlib
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
from jaxnst.image.color import HDR
from jaxnst.video.colors import BT2020, UNSAID, is_converted, to_srgb

Frames = npt.NDArray[np.uint8]
"""Pictures of a film, upright: ``(B, H, W, 3)``."""

ENDINGS = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".3gp", ".wmv", ".flv", ".ogv"),
)
"""Endings of files that are taken for films, in lower case."""

MAX_BYTES = 2**40

BT709, BT601 = 1, 5
"""Matrices from R'G'B' to Y'CbCr by their number in ITU-T H.273, table 4."""

MATRICES = {BT709, 4, BT601, 6, 7, BT2020}
"""Those that FFmpeg converts from."""

UNSAID_MATRICES = {UNSAID, 0, 3}
"""Numbers that state none; 0 is that of RGB."""

LIMITED, FULL = 1, 2
"""What FFmpeg's AVCOL_RANGE_MPEG and AVCOL_RANGE_JPEG are: levels 16 to 235, or 0 to 255."""

SAME = Fraction(1, 50)
"""By how much proportions of pictures may differ that are brought to one size without bars."""

ANNOUNCE = {"mp4", "matroska", "avi", "asf"}
"""What FFmpeg calls kinds of files that say how long their pictures go on."""

HD = 720
"""Lines from which a film that does not say its colours is taken for BT.709."""

FALL = Fraction(1, 10)
"""Seconds that times fall by where they begin anew; less is how files are."""

MISSING = "films need PyAV: pip install 'jaxnst[watch]'"


@dataclass(frozen=True)
class Film:
    """What is known of a film before it is read.

    Attributes:
      size: Of its pictures, upright, ``(height, width)``.
      rate: Pictures per second, on average.
      count: About how many pictures there should be, or None where that is not known.
      aspect: Width of a pixel, upright, by its height.
    """

    size: tuple[int, int]
    rate: Fraction
    count: int | None
    aspect: Fraction = Fraction(1)

    @property
    def shown(self) -> tuple[int, int]:
        """Size at which pictures are shown, of square pixels, ``(height, width)``."""
        return stretched(self.size, self.aspect)

    def fitting(self, longest: int | None) -> tuple[int, int]:
        """Return the size, both sides even, of which the longest side is at most ``longest``."""
        size = self.size if longest is None else fit(self.size, min(longest, max(self.size)))
        height, width = (max(2, side // 2 * 2) for side in size)
        return height, width


class Orientation(NamedTuple):
    """How a picture is set upright.

    Attributes:
      turned: Whether its rows become columns.
      down: Whether the order of rows is then reversed.
      right: Whether the order of columns is.
    """

    turned: bool = False
    down: bool = False
    right: bool = False

    def size(self, frame: Any) -> tuple[int, int]:
        """Return the size of a picture when it is upright, ``(height, width)``."""
        return (frame.width, frame.height) if self.turned else (frame.height, frame.width)

    def upright(self, values: Frames) -> Frames:
        """Set a picture upright."""
        values = values.swapaxes(0, 1) if self.turned else values
        return values[:: -1 if self.down else 1, :: -1 if self.right else 1]


class Faults:
    """What could not be read in a film, or had to be changed.

    Attributes:
      resized: Seconds after which pictures are shown at another size, and that size, or None.
      hdr: What its pictures were converted from, or None.
      packets: Pieces that could not be decoded.
      cut: Whether the file ended, or could not be read any further, where there should be more.
      until: Seconds at which the last picture that is there ends.
    """

    def __init__(self) -> None:
        self.packets, self.cut, self.until = 0, False, Fraction(0)
        self.resized: tuple[float, tuple[int, int]] | None = None
        self.hdr: str | None = None


class Joined:
    """Times that go on where those of a file begin anew, as of films joined end to end.

    One shift serves pictures and sound, so that they stay in step: it begins where the longer of
    them ended.
    """

    def __init__(self) -> None:
        self.shift = self.end = Fraction(0)
        self.shifts: dict[int, Fraction] = {}
        self.last: dict[int, Fraction] = {}

    def move(self, packet: Any) -> None:
        """Move the times of a packet; those of each stream in the order of the file."""
        base, stream = fraction(packet.time_base), packet.stream.index
        if base is None or packet.dts is None:
            return
        time = packet.dts * base
        shown = time if packet.pts is None else packet.pts * base
        # After a join that another stream showed, there may still be a piece from before it.
        shift = min(
            (self.shift, self.shifts.get(stream, Fraction(0))),
            key=lambda shift: abs(time + shift - self.end),
        )
        if shift == self.shift and time + shift < self.last.get(stream, time + shift) - FALL:
            shift = self.shift = self.end - shown
        self.shifts[stream], self.last[stream] = shift, time + shift
        self.end = max(self.end, shown + shift + (packet.duration or 0) * base)
        packet.dts += round(shift / base)
        if packet.pts is not None:
            packet.pts += round(shift / base)


def read_film(path: AnyPath) -> Film:
    """Look at a film's first picture, and at what its file says.

    Raises:
      FileNotFoundError: There is no such file.
      ModuleNotFoundError: PyAV is missing.
      ValueError: It is no film, holds no pictures, or the first cannot be read.
    """
    with opened(path) as (container, stream):
        pictures = oriented(decoded(container, stream, lambda _: None, Faults()))
        first, orientation = next(pictures, (None, Orientation()))
        if first is None:
            raise ValueError(
                f"{_files.name_of(path)} has no picture that can be read: get a whole copy of it"
            )
        rate = fraction(stream.average_rate) or fraction(stream.base_rate) or Fraction(25)
        count = stream.frames or max(0, math.floor(length(stream) * rate))
        matrix = int(first.colorspace)
        if matrix not in MATRICES | UNSAID_MATRICES:
            raise ValueError(
                f"{_files.name_of(path)} has colors that cannot be read (matrix {matrix} of "
                "H.273): convert it to BT.709 with another program first"
            )
        aspect = fraction(stream.sample_aspect_ratio) or Fraction(1)
        if orientation.turned:
            aspect = 1 / aspect
        return Film(orientation.size(first), rate, count or None, aspect)


@contextlib.contextmanager
def opened(path: AnyPath) -> Iterator[tuple[Any, Any]]:
    """Open a film, and find its pictures.

    Yields:
      PyAV's container, and its stream of pictures.

    Raises:
      ModuleNotFoundError: PyAV is missing.
      FileNotFoundError: There is no such file.
      ValueError: It is no film, or one without pictures.
    """
    if find_spec("av") is None:
        raise ModuleNotFoundError(MISSING)
    import av

    name = _files.name_of(path)
    _files.check_source(path, MAX_BYTES)
    try:
        container = av.open(os.path.abspath(path))  # or "12:30.mp4" is an address
    except (av.FFmpegError, UnicodeError) as error:
        raise ValueError(
            f"{name} is no film that can be read ({told(error)}): check the file, or "
            "convert it to MP4"
        ) from None
    with container:
        covers = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & covers]
        if not streams or streams[0].codec_context is None:
            raise ValueError(f"{name} has no moving picture that can be read: check the file")
        streams[0].thread_type = "AUTO"
        yield container, streams[0]


def decoded(
    container: Any, stream: Any, sound: Callable[[Any], None], faults: Faults
) -> Iterator[Any]:
    """Yield a film's pictures, and hand packets of sound over as they come by."""
    import av

    packets, joined = container.demux(stream, *sounds(container)), Joined()
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            faults.cut = True
            return
        except IndexError:  # at the end PyAV misses streams that FFmpeg has found on the way
            return
        if packet is None:
            return
        joined.move(packet)
        if packet.stream is not stream:
            if not packet.is_corrupt:
                sound(packet)
            continue
        if packet.pts is not None:
            until = (packet.pts + (packet.duration or 0)) * (fraction(packet.time_base) or 0)
            faults.until = max(faults.until, until)
        try:
            frames = packet.decode()
        except av.FFmpegError:
            faults.packets += 1
            continue
        yield from frames


def sounds(container: Any) -> list[Any]:
    """Find the streams of sound; some are announced and never come, and have no rate."""
    streams = container.streams.audio
    return [s for s in streams if s.codec_context is not None and s.codec_context.sample_rate]


def length(stream: Any) -> Fraction:
    """Return for how many seconds there are pictures, by what is said of them alone, or 0.

    The whole film may be longer: sound may go on. Matroska says when the pictures end, in a tag.
    """
    base = fraction(stream.time_base) or Fraction(0)
    if stream.duration:
        return stream.duration * base
    tags = (value for key, value in stream.metadata.items() if key.startswith("DURATION"))
    clock = re.fullmatch(r"(\d{1,9}):(\d\d):(\d\d(?:\.\d{1,9})?)", next(tags, ""))
    if clock is None:
        return Fraction(0)
    hours, minutes, seconds = map(Fraction, clock.groups())
    return 3600 * hours + 60 * minutes + seconds - (stream.start_time or 0) * base


def announced(container: Any, stream: Any) -> Fraction:
    """Return when the last picture should end, seconds, or 0 where that is not known.

    Of other kinds of files it is estimated from what is there.
    """
    if not ANNOUNCE & set(container.format.name.split(",")):
        return Fraction(0)
    begin = (stream.start_time or 0) * (fraction(stream.time_base) or 0)
    return begin + there if (there := length(stream)) else Fraction(0)


def oriented(frames: Iterator[Any]) -> Iterator[tuple[Any, Orientation]]:
    """Yield pictures with their orientations, which hold until the next or a key frame.

    By the display matrix ``a b u c d v x y w`` that comes with a picture: ``(x, y)`` is shown at
    ``(a x + c y, b x + d y)`` (ISO/IEC 14496-12, 6.2.2), here at the nearest of the eight
    orientations with upright edges.
    """
    from av.sidedata.sidedata import Type

    last = Orientation()
    for frame in frames:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)
        if matrix is not None:
            a, b, _, c, d, *_ = (int(n) for n in np.frombuffer(matrix, np.int32))
            turned = abs(b) + abs(c) > abs(a) + abs(d)
            last = Orientation(True, b < 0, c < 0) if turned else Orientation(False, d < 0, a < 0)
        elif frame.key_frame:
            last = Orientation()
        yield frame, last


def picture(
    frame: Any,
    orientation: Orientation,
    colors: tuple[int, int],
    inner: tuple[int, int],
    size: tuple[int, int],
) -> Frames:
    """Decode a picture to sRGB, upright, at a size.

    Args:
      frame: PyAV's.
      orientation: Of the frame.
      colors: Its numbers, of :func:`color_numbers`.
      inner: Size to which the picture is brought, ``(height, width)``.
      size: Of what is returned, with black bars around the picture.
    """
    convert = is_converted(*colors)
    height, width = inner[::-1] if orientation.turned else inner
    values = frame.to_ndarray(
        format="rgb48le" if convert else "rgb24",
        width=width,
        height=height,
        interpolation="BICUBIC",
        **conversion(frame, *colors),
    )
    values = orientation.upright(to_srgb(values, *colors) if convert else values)
    if inner == size:
        return values
    whole = np.zeros((*size, 3), np.uint8)
    top, left = ((have - want) // 2 for have, want in zip(size, inner, strict=True))
    whole[top : top + inner[0], left : left + inner[1]] = values
    return whole


def within(
    shown: tuple[int, int], first: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int]:
    """Return how large a picture is when it is undistorted in the place of another.

    Args:
      shown: Size at which it is shown, ``(height, width)``.
      first: Size at which the other is shown.
      size: What the other is brought to.
    """
    stretch = Fraction(shown[1] * first[0], shown[0] * first[1])  # 1: of the same proportions
    if abs(stretch - 1) <= SAME:
        return size
    height, width = size
    if stretch > 1:
        return max(1, round(height / stretch)), width
    return height, max(1, round(width * stretch))


def stretched(size: tuple[int, int], aspect: Fraction) -> tuple[int, int]:
    """Return a size ``(height, width)`` of pixels of an aspect in square pixels."""
    return size[0], max(1, round(size[1] * aspect))


def conversion(frame: Any, transfer: int, primaries: int) -> dict[str, int]:
    """Return what FFmpeg is to convert a picture from; old versions of PyAV look at no tags."""
    if frame.format.is_rgb or len(frame.format.components) < 3:
        return {}
    matrix = int(frame.colorspace)
    if matrix in UNSAID_MATRICES:
        wide = transfer in HDR or primaries == BT2020
        matrix = BT709 if min(frame.height, frame.width) >= HD else BT601
        matrix = BT2020 if wide else matrix
    return {
        "src_colorspace": matrix,
        "src_color_range": int(frame.color_range) or LIMITED,
        # Of RGB only the range counts; but where both matrices are the same, none is looked at.
        "dst_colorspace": BT709 if matrix == BT601 else BT601,
        "dst_color_range": FULL,
    }


def color_numbers(frame: Any, context: Any) -> tuple[int, int]:
    """Return the transfer characteristics and primaries of a picture, by their number in H.273."""
    facts = frame if hasattr(frame, "color_trc") else context
    return int(facts.color_trc), int(facts.color_primaries)


def fraction(value: Any) -> Fraction | None:
    """Convert a rational number of PyAV, of whatever class; None where there is none."""
    return Fraction(value.numerator, value.denominator) if value else None


def told(error: Exception) -> str:
    """Say what FFmpeg complained about, without its numbers."""
    return getattr(error, "strerror", None) or _files.reason(error)
