"""Contact sheets: labeled pictures side by side."""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxnst.image import resize
from jaxnst.image.color import Pixels

GAP = 6
FONT = 13

LONGEST = 15000
"""Longest side of a sheet, pixels: some file formats allow no more."""


def contact_sheet(rows: Sequence[Sequence[tuple[str, Pixels]]], *, height: int) -> Pixels:
    """Lay pictures out in rows, each under its label.

    Args:
      rows: Labels, of one or more lines, and pictures, ``(H, W, 3)`` RGB in [0, 1], or with their
        opacity ``(H, W, 4)``. Lines that are wider than their picture are broken at spaces and
        after commas, else cut off.
      height: Of every picture, pixels; widths follow.

    Returns:
      The sheet, RGB in [0, 1], on white.

    Raises:
      ValueError: There is no picture.
    """
    font = ImageFont.load_default(FONT)
    scaled = [[(text, _scaled(image, height)) for text, image in row] for row in rows if row]
    if not scaled:
        raise ValueError("rows is empty, expected at least one picture")
    sheet_rows = [
        [(_broken(text, image.shape[1], font), image) for text, image in row] for row in scaled
    ]
    lines = max(label.count("\n") + 1 for row in sheet_rows for label, _ in row)
    label_height = lines * (FONT + 5) + 4
    step = height + label_height + GAP
    width = max(sum(image.shape[1] + GAP for _, image in row) for row in sheet_rows) - GAP
    sheet = np.ones((step * len(sheet_rows) - GAP, width, 3), np.float32)
    for top, row in zip(range(0, len(sheet), step), sheet_rows, strict=True):
        left = 0
        for label, image in row:
            strip = Image.new("RGB", (image.shape[1], label_height), "white")
            draw = ImageDraw.Draw(strip)
            draw.multiline_text((2, 2), label, fill="black", font=font, spacing=4)
            cell = np.concatenate([np.asarray(strip, np.float32) / 255, image])
            sheet[top : top + len(cell), left : left + image.shape[1]] = cell
            left += image.shape[1] + GAP
    return sheet


def on_white(image: Pixels) -> Pixels:
    """Show an image on white if it has an opacity, by which its colors are not multiplied yet."""
    if image.shape[2] == 3:
        return image
    opacity = image[..., 3:]
    return image[..., :3] * opacity + (1 - opacity)


def _broken(label: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Break the lines of a label that are wider than a picture."""
    lines = []
    for text in label.split("\n"):
        line = ""
        for part in re.findall(r"[^ ,]*[ ,]?", text):
            if line and font.getlength(line + part.rstrip()) > width - 2:
                lines.append(line)
                line = ""
            line += part
        lines.append(line)
    return "\n".join(lines)


def _scaled(image: Pixels, height: int) -> Pixels:
    image = on_white(image)
    if image.shape[0] == height:
        return image
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return np.clip(resize(image, (height, width)), 0, 1)
