"""Files <-> arrays: load, save and resize pictures.

An image is a float32 array ``(H, W, 3)``: sRGB in [0, 1], RGB order, first row at the top; where
transparency is asked for, ``(H, W, 4)`` with straight (not premultiplied) colour. Sizes are
``(height, width)``.
"""

from jaxnst.image.formats import ENDINGS, holds_alpha
from jaxnst.image.reading import MAX_BYTES, MAX_PIXELS, check_side, image_size, load_image
from jaxnst.image.resizing import Box, fit, resize, resize_rgba
from jaxnst.image.writing import check_output, save_image

__all__ = [
    "ENDINGS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Box",
    "check_output",
    "check_side",
    "fit",
    "holds_alpha",
    "image_size",
    "load_image",
    "resize",
    "resize_rgba",
    "save_image",
]
