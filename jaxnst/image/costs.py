"""The memory that pictures take: estimates, from files' headers and from shapes.

Measured at 12 and 48 million pixels, of every format, mode and orientation.
"""

from jaxnst._files import AnyPath
from jaxnst.image.reading import opened, upright_size

_READING = {False: 32, True: 50}
"""Bytes for each pixel at the peak of reading, by whether there is transparency: the decoder's
buffers, the picture in 8 bits, upright and as sRGB, and in float32."""

_KEEPING = {3: 24, 4: 64}
"""Bytes for each pixel of a picture that is painted, by channels: the picture in float32 and one
channel of it in the making of a smaller one; with transparency also a copy in which hidden pixels
are filled, and what filling them takes."""


def reading_bytes(source: AnyPath) -> int:
    """Estimate the bytes that reading a picture takes at its peak, from its header.

    Raises:
      OSError: As :func:`jaxnst.load_image`.
      ValueError: As :func:`jaxnst.load_image`.
    """
    with opened(source) as (_, picture):
        height, width = upright_size(picture)
        transparent = picture.has_transparency_data
    return _READING[transparent] * height * width


def keeping_bytes(shape: tuple[int, ...]) -> int:
    """Estimate the bytes that a picture ``(H, W, 3)`` or ``(H, W, 4)`` takes while it is used."""
    height, width, channels = shape
    return _KEEPING[channels] * height * width
