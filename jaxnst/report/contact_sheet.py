"""Sheets of labelled pictures, to be looked at side by side."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxnst.image import resize
from jaxnst.image.color import Pixels

GAP = 6
FONT = 13

LONGEST = 15000
"""Longest side of a sheet, pixels: some formats have no more."""


def contact_sheet(rows: Sequence[Sequence[tuple[str, Pixels]]], *, height: int) -> Pixels:
    """Lay pictures out in rows, each under its label.

    Args:
      rows: Labels (of several lines, if need be) and pictures, ``(H, W, 3)`` RGB in [0, 1], or with
        their opacity ``(H, W, 4)``. A label is cut off where its picture ends.
      height: Of every picture, pixels; widths follow.

    Returns:
      The sheet, RGB in [0, 1], on white.

    Raises:
      ValueError: If there is no picture.
    """
    laid = [
        [(label, _scaled(on_white(picture), height)) for label, picture in row]
        for row in rows
        if row
    ]
    if not laid:
        raise ValueError("rows is empty, expected at least one picture")
    font = ImageFont.load_default(FONT)
    lines = max(label.count("\n") + 1 for row in laid for label, _ in row)
    label_height = lines * (FONT + 5) + 4
    width = max(sum(p.shape[1] + GAP for _, p in row) for row in laid) - GAP
    step = height + label_height + GAP

    sheet = np.ones((step * len(laid) - GAP, width, 3), np.float32)
    for y, row in enumerate(laid):
        x = 0
        for label, picture in row:
            strip = Image.new("RGB", (picture.shape[1], label_height), "white")
            draw = ImageDraw.Draw(strip)
            draw.multiline_text((2, 2), label, fill="black", font=font, spacing=4)
            top = y * step
            columns = slice(x, x + picture.shape[1])
            sheet[top : top + label_height, columns] = np.asarray(strip, np.float32) / 255
            sheet[top + label_height : top + label_height + height, columns] = picture
            x += picture.shape[1] + GAP
    return sheet


def on_white(image: Pixels) -> Pixels:
    """Show an image on white where it has a fourth channel, its opacity.

    Args:
      image: ``(H, W, 3)`` or ``(H, W, 4)`` in [0, 1], colours not multiplied by the opacity.

    Returns:
      ``(H, W, 3)``.
    """
    if image.shape[2] == 3:
        return image
    opacity = image[..., 3:]
    return image[..., :3] * opacity + (1 - opacity)


def _scaled(picture: Pixels, height: int) -> Pixels:
    own, width = picture.shape[:2]
    if own == height:
        return picture
    size = height, max(1, round(width * height / own))
    return np.clip(resize(picture, size), 0, 1)
