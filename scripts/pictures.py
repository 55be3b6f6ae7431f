"""What scripts share of pictures: the standard pairs, and squares cut out of the middle."""

from pathlib import Path

import numpy as np

STANDARD_PAIRS = (
    ("tubingen", "starry_night_google"),
    ("golden_gate", "the_scream"),
    ("hoovertowernight", "kandinsky_composition_vii"),
    ("lion", "vg_wheat_field"),
    ("taj_mahal", "great_wave_hokusai"),
    ("stata", "udnie_picabia_1913"),
)
"""Content and style in the shared folder's pictures/: everyone looks at the same six."""


def pair_paths(data: Path, pair: tuple[str, str]) -> tuple[Path, Path]:
    """Return the files of a standard pair."""
    content, style = pair
    return data / f"pictures/content/{content}.jpg", data / f"pictures/style/{style}.jpg"


def centre_crop(image: np.ndarray, side: int) -> np.ndarray:
    """Cut the middle square out of a picture."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]
