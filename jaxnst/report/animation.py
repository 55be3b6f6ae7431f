"""Animations of pictures: GIF and WebP by Pillow, MP4 by PyAV.

A frame is uint8 ``(H, W, 3)``, with even sides, which MP4 needs.
"""

import io
import math
from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.image import fit, resize
from jaxnst.image.color import Pixels
from jaxnst.report.contact_sheet import on_white

Frame = NDArray[np.uint8]

LONGEST = 512
"""Longest side of a frame unless said otherwise, pixels."""

PALETTE_PIXELS = 10_000
"""About how many pixels of a GIF's frame decide its palette."""

_CODECS = ("libx264", "libopenh264", "mpeg4")


def as_frame(image: Pixels, *, longest: int = LONGEST) -> Frame:
    """Make a frame of an image; a small one is not enlarged.

    Args:
      image: ``(H, W, 3)`` RGB in [0, 1], or ``(H, W, 4)`` with its opacity, shown on white.
      longest: Longest side, pixels.

    Returns:
      uint8 ``(H, W, 3)``, both sides even.
    """
    size = image.shape[:2]
    height, width = fit(size, min(longest, max(size)))
    even = max(2, height // 2 * 2), max(2, width // 2 * 2)
    return np.rint(np.clip(resize(on_white(image), even), 0, 1) * 255).astype(np.uint8)


def png(frame: Frame) -> bytes:
    """Encode one frame as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()


def check_animation(path: AnyPath) -> None:
    """Find out, before any work, whether an animation can be written.

    Raises:
      ValueError: The ending is unknown.
      ModuleNotFoundError: PyAV is missing, which MP4 needs.
      OSError: As :func:`jaxnst._files.check_writable`.
    """
    ending = _ending(path)
    if ending == ".mp4" and find_spec("av") is None:
        raise ModuleNotFoundError(
            f"{_files.name_of(path)} needs PyAV: pip install 'jaxnst[watch]', or write a .gif or "
            ".webp, which need nothing"
        )
    _files.check_writable(path)


def save_animation(
    path: AnyPath, frames: Sequence[Frame], *, rate: int | float = 12.5, hold: int | float = 2.0
) -> None:
    """Write frames as GIF, WebP or MP4, as the ending says; GIF and WebP loop for ever.

    A crash never leaves half a file.

    Args:
      path: Where to: ``.gif``, ``.webp`` or ``.mp4``.
      frames: Of one size, from :func:`as_frame`; at least one.
      rate: Frames per second.
      hold: How long the last one stays, seconds.

    Raises:
      ValueError: The ending is unknown, there is no frame, or they are not of one size.
      ModuleNotFoundError: PyAV is missing, which MP4 needs.
      OSError: It cannot be written.
    """
    encode = _ENCODERS[_ending(path)]
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1:
        raise ValueError(f"frames have {len(sizes)} sizes, expected one frame or more, of one size")
    _files.replace_file(path, encode(frames, rate, hold))


def codec() -> str:
    """Name the best encoder of H.264, or of what is nearest, that PyAV brings.

    Raises:
      ModuleNotFoundError: PyAV is missing.
    """
    import av

    return next(name for name in _CODECS if name in av.codecs_available)


def _ending(path: AnyPath) -> str:
    return _files.ending_of(path, _ENCODERS, usual=".gif")


def _gif(frames: Sequence[Frame], rate: int | float, hold: int | float) -> bytes:
    # Each has its own palette: colours change on the way.
    return _by_pillow([_with_palette(Image.fromarray(f)) for f in frames], "GIF", rate, hold)


def _with_palette(picture: Image.Image) -> Image.Image:
    """Choose 256 colours by a small copy: with a large one Pillow takes a quarter of a second."""
    factor = math.isqrt(picture.width * picture.height // PALETTE_PIXELS) or 1
    colours = picture.reduce(factor).quantize()
    return picture.quantize(palette=colours, dither=Image.Dither.NONE)


def _webp(frames: Sequence[Frame], rate: int | float, hold: int | float) -> bytes:
    return _by_pillow([Image.fromarray(f) for f in frames], "WEBP", rate, hold, quality=90)


def _by_pillow(
    pictures: list[Image.Image], kind: str, rate: int | float, hold: int | float, **options: int
) -> bytes:
    each = round(1000 / rate)
    durations = [each] * (len(pictures) - 1) + [max(each, round(1000 * hold))]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        kind,
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        **options,
    )
    return buffer.getvalue()


def _mp4(frames: Sequence[Frame], rate: int | float, hold: int | float) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        name = codec()
        stream = container.add_stream(name, rate=Fraction(rate).limit_denominator(1000))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"  # what every player shows
        if name == "libx264":
            stream.options = {"crf": "18"}
        held = [frames[-1]] * round(rate * hold)
        for frame in (*frames, *held):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


_ENCODERS = {".gif": _gif, ".webp": _webp, ".mp4": _mp4}
