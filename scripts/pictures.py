"""What the picture-making scripts share: the standard pairs, and sheets of labelled pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

STANDARD_PAIRS = (
    ("tubingen", "starry_night_google"),
    ("golden_gate", "the_scream"),
    ("hoovertowernight", "kandinsky_composition_vii"),
    ("lion", "vg_wheat_field"),
    ("taj_mahal", "great_wave_hokusai"),
    ("stata", "udnie_picabia_1913"),
)
"""Content and style in the shared folder's pictures/: everyone looks at the same six."""

LABEL = 22
GAP = 6


def pair_paths(data: Path, pair: tuple[str, str]) -> tuple[Path, Path]:
    """Return the files of a standard pair."""
    content, style = pair
    return data / f"pictures/content/{content}.jpg", data / f"pictures/style/{style}.jpg"


def sheet(rows: Sequence[Sequence[tuple[str, np.ndarray]]], height: int) -> Image.Image:
    """Lay labelled pictures (RGB in [0, 1]) out in rows, all scaled to one height."""
    laid = [[(label, _scaled(picture, height)) for label, picture in row] for row in rows]
    width = max(sum(p.width + GAP for _, p in row) for row in laid) - GAP
    step = height + LABEL + GAP
    canvas = Image.new("RGB", (width, step * len(laid) - GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for y, row in enumerate(laid):
        x = 0
        for label, picture in row:
            draw.text((x + 2, y * step + 5), label, fill="black")
            canvas.paste(picture, (x, y * step + LABEL))
            x += picture.width + GAP
    return canvas


def _scaled(picture: np.ndarray, height: int) -> Image.Image:
    image = Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))
    width = max(1, round(image.width * height / image.height))
    if image.height == height:
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS)
