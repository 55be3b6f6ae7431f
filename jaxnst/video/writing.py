"""Pictures and packets of sound -> MP4 files."""

import contextlib
import errno
import math
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.report.animation import codec
from jaxnst.video.reading import MISSING, Film, fraction, sounds, told
from jaxnst.video.sound import changing, sound_like

ENDING = ".mp4"
"""Of films that are written."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
"""What the system says of a disk; FFmpeg says others, EPERM too, of what it is given."""


def check_film(path: AnyPath) -> None:
    """Find out, before any work, whether a film can be written.

    Raises:
      ModuleNotFoundError: PyAV is missing.
      ValueError: The ending is another.
      OSError: As :func:`jaxnst._files.check_writable`.
    """
    if find_spec("av") is None:
        raise ModuleNotFoundError(MISSING)
    _files.ending_of(path, (ENDING,), usual=ENDING)
    _files.check_writable(path)


@contextlib.contextmanager
def writing(path: str, source: AnyPath) -> Iterator[Any]:
    """Open a file to be written.

    Args:
      path: The file.
      source: The film that is written anew, to be named.

    Yields:
      PyAV's container.

    Raises:
      OSError: The system cannot write it; as below in place of what PyAV raises in the body.
      ValueError: FFmpeg does not take what it is to hold.
    """
    import av

    try:
        with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as target:
            yield target
    except av.FFmpegError as error:
        if error.errno in FULL:
            raise OSError(told(error)) from error
        raise ValueError(
            f"{_files.name_of(source)} cannot be written as MP4 ({told(error)}): convert it to "
            "MP4 with another program first"
        ) from error


class Writer:
    """Encodes pictures, and passes sound on.

    Args:
      target: From :func:`writing`.
      container: Of the film that the sound comes from.
      stream: Its pictures.
      film: What is known of it.
      size: Of the pictures that are written, ``(height, width)``, both even.
    """

    def __init__(
        self, target: Any, container: Any, stream: Any, film: Film, size: tuple[int, int]
    ) -> None:
        name = codec()
        self.target = target
        self.base = fraction(stream.time_base) or 1 / film.rate
        self.last = -math.inf
        # Some begin late, and all is shown as much earlier.
        self.start = max(Fraction(0), Fraction(container.start_time or 0, 10**6))
        self.picture = target.add_stream(name, rate=film.rate.limit_denominator(100_000))
        self.picture.height, self.picture.width = size
        self.picture.pix_fmt = "yuv420p"
        context = self.picture.codec_context
        context.time_base = self.base
        # As the pictures are encoded: BT.709, 16 to 235.
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1
        context.sample_aspect_ratio = film.aspect
        if name == "libx264":
            self.picture.options = {"crf": "18"}
        changed = changing(container.name)
        self.sounds = {
            heard.index: sound_like(target, heard, self.start, changes=heard.index in changed)
            for heard in sounds(container)
        }

    def sound(self, packet: Any) -> None:
        """Take a packet of sound, or the empty one at the end."""
        self.sounds[packet.stream.index].take(packet)

    def pictures(self, painted: npt.ArrayLike, times: list[Fraction]) -> None:
        """Take pictures with the times at which they are shown, seconds."""
        import av

        for values, time in zip(np.asarray(painted), times, strict=False):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            frame.time_base = self.base
            self.last = max(round((time - self.start) / self.base), self.last + 1)
            frame.pts = self.last
            self.target.mux(self.picture.encode(frame))

    def end(self) -> None:
        """Write what encoders have kept back."""
        self.target.mux(self.picture.encode(None))
        for sound in self.sounds.values():
            sound.end()
