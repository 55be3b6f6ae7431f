"""Files <-> arrays: load, save and resize pictures.

An image is a float32 array ``(H, W, 3)``: sRGB in [0, 1], RGB order, first row at the top; where
transparency is asked for, ``(H, W, 4)`` with straight (not premultiplied) color. Sizes are
``(height, width)``.
"""

from jaxnst.image.formats import ENDINGS, READ_ENDINGS, check_deep, holds
from jaxnst.image.reading import (
    MAX_BYTES,
    MAX_PIXELS,
    NoPictureError,
    check_side,
    image_size,
    load_image,
    load_with_notices,
    read_record,
    reading_bytes,
)
from jaxnst.image.resizing import (
    Box,
    fill_hidden,
    fit,
    keeping_bytes,
    resample,
    resize,
    resize_rgba,
    same_shape,
)
from jaxnst.image.writing import DPI, check_output, save_image

__all__ = [
    "DPI",
    "ENDINGS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "READ_ENDINGS",
    "Box",
    "NoPictureError",
    "check_deep",
    "check_output",
    "check_side",
    "fill_hidden",
    "fit",
    "holds",
    "image_size",
    "keeping_bytes",
    "load_image",
    "load_with_notices",
    "read_record",
    "reading_bytes",
    "resample",
    "resize",
    "resize_rgba",
    "same_shape",
    "save_image",
]
