"""What scripts share of pictures: standard pairs, those kept out of training, middle squares."""

from pathlib import Path

import numpy as np

import jaxnst
from jaxnst.feedforward.crops import Pictures

STANDARD_PAIRS = (
    ("tubingen", "starry_night_google"),
    ("golden_gate", "the_scream"),
    ("hoovertowernight", "kandinsky_composition_vii"),
    ("lion", "vg_wheat_field"),
    ("taj_mahal", "great_wave_hokusai"),
    ("stata", "udnie_picabia_1913"),
)
"""Content and style in the shared folder's pictures/: everyone looks at the same six."""

HELD_OUT = 16
"""As many pictures are kept out of training, unless some are named."""


def pair_paths(data: Path, pair: tuple[str, str]) -> tuple[Path, Path]:
    """Return the files of a standard pair."""
    content, style = pair
    return data / f"pictures/content/{content}.jpg", data / f"pictures/style/{style}.jpg"


def centre_crop(image: np.ndarray, side: int) -> np.ndarray:
    """Cut the middle square out of a picture."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def centre_crops(pictures: Pictures, side: int) -> list[np.ndarray]:
    """Cut the middle squares out of pictures that are large enough.

    Raises:
      SystemExit: None is.
    """
    images = (jaxnst.load_image(pictures.path(index)) for index in range(len(pictures)))
    crops = [centre_crop(image, side) for image in images if min(image.shape[:2]) >= side]
    if not crops:
        raise SystemExit(
            f"of {len(pictures)} pictures kept out of training none has {side} pixels on the "
            "shorter side: name others by --held-out"
        )
    return crops


def divided(pictures: Pictures, names: str | None) -> tuple[Pictures, Pictures]:
    """Keep pictures out of training: those named, or some evenly spaced.

    Raises:
      SystemExit: None is left to train on, or one that is named is not there.
    """
    stems = [Path(name).stem for name in pictures.names]
    if names is None:
        kept, out = pictures.hold_out(HELD_OUT)
    else:
        chosen = set(names.split(","))
        if unknown := sorted(chosen.difference(stems)):
            raise SystemExit(f"--held-out: there is no picture {', '.join(unknown)}")
        numbers = {i for i, stem in enumerate(stems) if stem in chosen}
        kept, out = pictures.only(set(range(len(pictures))) - numbers), pictures.only(numbers)
    if not len(kept):
        raise SystemExit(
            f"{len(out)} of {len(pictures)} pictures are kept out of training, which leaves none: "
            "give more, or name fewer by --held-out"
        )
    return kept, out
