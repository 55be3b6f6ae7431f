"""Animations: GIF and WebP by Pillow, MP4 by PyAV.

A frame is uint8 ``(H, W, 3)``, with even sides, which MP4 needs.
"""

import io
import math
from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jaxnst import _files
from jaxnst._files import AnyPath
from jaxnst.image import fit, resize
from jaxnst.image.color import Pixels
from jaxnst.report.contact_sheet import on_white

Frame = NDArray[np.uint8]

ENDINGS = (".gif", ".webp", ".mp4")

PALETTE_PIXELS = 10_000
"""Number of pixels, about, from which the palette of a GIF's frame is chosen."""


def as_frame(image: Pixels, *, longest: int = 512) -> Frame:
    """Convert an image to a frame of at most ``longest`` pixels; a small one is not enlarged.

    One with a fourth channel, its opacity, is shown on white. Both sides of a frame are even.
    """
    size = image.shape[:2]
    height, width = fit(size, min(longest, max(size)))
    even = max(2, height // 2 * 2), max(2, width // 2 * 2)
    return np.rint(np.clip(resize(on_white(image), even), 0, 1) * 255).astype(np.uint8)


def check_animation(path: AnyPath) -> None:
    """Check, before any work, that an animation can be written.

    Raises:
      ValueError: The ending is unknown, or the file is a device or a pipe.
      ModuleNotFoundError: PyAV is missing, which MP4 needs.
      OSError: The folder does not exist, or cannot be written to.
    """
    ending = _files.ending_of(path, ENDINGS, usual=".gif")
    if ending == ".mp4" and find_spec("av") is None:
        raise ModuleNotFoundError(
            f"{_files.name_of(path)} needs PyAV: pip install 'jaxnst[watch]', or write a .gif or "
            ".webp, which need nothing"
        )
    _files.check_writable(path)


def save_animation(
    path: AnyPath, frames: Sequence[Frame], *, rate: int | float = 12.5, hold: int | float = 2.0
) -> None:
    """Write frames as GIF, WebP or MP4, by the file's ending; GIF and WebP loop for ever.

    A crash never leaves half a file.

    Args:
      path: The file: ``.gif``, ``.webp`` or ``.mp4``.
      frames: Of one size, from :func:`as_frame`; at least one.
      rate: Frames per second.
      hold: How long the last frame stays, seconds.

    Raises:
      ValueError: The ending is unknown, there is no frame, or they differ in size.
      ModuleNotFoundError: PyAV is missing, which MP4 needs.
      OSError: The file cannot be written.
    """
    ending = _files.ending_of(path, ENDINGS, usual=".gif")
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1:
        raise ValueError(f"frames have {len(sizes)} sizes, expected one frame or more, of one size")
    buffer = io.BytesIO()
    if ending == ".mp4":
        import av

        with av.open(buffer, "w", format="mp4") as container:
            size = frames[0].shape[:2]
            stream = add_h264_stream(container, Fraction(rate).limit_denominator(1000), size)
            for frame in (*frames, *[frames[-1]] * round(rate * hold)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    else:
        images, options = [Image.fromarray(frame) for frame in frames], dict[str, Any]()
        if ending == ".gif":
            images = [_with_palette(image) for image in images]  # each its own: colors change
        else:
            options = {"quality": 90}
        duration = round(1000 / rate)
        durations = [duration] * (len(images) - 1) + [max(duration, round(1000 * hold))]
        options |= {"append_images": images[1:], "duration": durations, "loop": 0}
        images[0].save(buffer, ending[1:], save_all=True, **options)
    _files.replace_file(path, buffer.getvalue())


def add_h264_stream(container: Any, rate: Fraction, size: tuple[int, int]) -> Any:
    """Add a stream of pictures ``(height, width)`` to PyAV's container and return it.

    In H.264 or, where PyAV lacks it, in MPEG-4; with the sampling that every player shows.
    """
    import av

    codecs = ("libx264", "libopenh264", "mpeg4")
    codec = next(name for name in codecs if name in av.codecs_available)
    stream = container.add_stream(codec, rate=rate)
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    if codec == "libx264":
        stream.options = {"crf": "18"}
    return stream


def _with_palette(image: Image.Image) -> Image.Image:
    """Choose 256 colors by a small copy: with a large one Pillow takes a quarter of a second."""
    factor = math.isqrt(image.width * image.height // PALETTE_PIXELS) or 1
    return image.quantize(palette=image.reduce(factor).quantize(), dither=Image.Dither.NONE)
