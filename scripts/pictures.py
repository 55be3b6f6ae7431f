"""What scripts share of pictures: standard pairs, those kept out of training, middle squares."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import jaxnst
from jaxnst._files import name_of, reason
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

OTHER_PAIRS = (
    ("amber", "vg_la_cafe"),
    ("tubingen", "mondrian"),
    ("golden_gate", "shipwreck_of_the_minotaur_turner"),
    ("lion", "contrast_of_forms_leger"),
    ("taj_mahal", "van_gogh_2"),
    ("stata", "tahiti_guaguin"),
)
"""Six others, so that nothing is tuned to the standard ones alone."""

HELD_OUT = 16
"""As many pictures are kept out of training, unless some are named."""

NAMED = 20
"""Most files that are named of those that are left out."""


def pair_paths(data: Path, pair: tuple[str, str]) -> tuple[Path, Path]:
    """Return the files of a standard pair."""
    content, style = pair
    return data / f"pictures/content/{content}.jpg", data / f"pictures/style/{style}.jpg"


def centre_crop(image: np.ndarray, side: int) -> np.ndarray:
    """Cut the middle square out of a picture."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def centre_crops(
    pictures: Pictures, side: int, tell: Callable[[str], None] | None = None
) -> list[np.ndarray]:
    """Cut the middle squares out of pictures that are large enough.

    Args:
      pictures: Kept out of training.
      side: Of the squares, pixels.
      tell: Told of pictures that cannot be read, which are left out; None: there must be none.

    Raises:
      ValueError: One cannot be read, or none is large enough.
    """
    crops = []
    for index in range(len(pictures)):
        try:
            image = jaxnst.load_image(pictures.path(index))
        except (OSError, ValueError) as error:
            if tell is None:
                raise ValueError(f"--held-out: {reason(error)}") from error
            tell(f"left out of the pictures kept out of training: {reason(error)}")
            continue
        if min(image.shape[:2]) >= side:
            crops.append(centre_crop(image, side))
    if not crops:
        raise ValueError(
            f"of {len(pictures)} pictures kept out of training none can be read and has {side} "
            "pixels on the shorter side: name others by --held-out"
        )
    return crops


def left_out(pictures: Pictures, side: int) -> Iterator[str]:
    """Say which files of a folder are no pictures, and how many are too small for crops."""
    for text in pictures.broken[:NAMED]:
        yield f"left out: {text}"
    if len(pictures.broken) > NAMED:
        yield f"left out: {len(pictures.broken) - NAMED} more like it"
    if pictures.small:
        yield (
            f"left out: {pictures.small} of {pictures.small + len(pictures)} pictures, of which "
            f"the shorter side is less than half of the crops' {side} pixels"
        )


def divided(pictures: Pictures, names: str | None) -> tuple[Pictures, Pictures]:
    """Keep pictures out of training: those named, or some evenly spaced.

    Raises:
      ValueError: None is left to train on, or one that is named is not there.
    """
    stems = [Path(name).stem for name in pictures.names]
    if names is None:
        kept, out = pictures.hold_out(HELD_OUT)
    else:
        chosen = set(names.split(","))
        if unknown := sorted(chosen.difference(stems)):
            named = ", ".join(map(name_of, unknown))
            raise ValueError(f"--held-out: there is no picture {named}: check the names")
        numbers = {i for i, stem in enumerate(stems) if stem in chosen}
        kept, out = pictures.only(set(range(len(pictures))) - numbers), pictures.only(numbers)
    if not len(kept):
        raise ValueError(
            f"{len(out)} of {len(pictures)} pictures are kept out of training, which leaves none: "
            "give more, or name fewer by --held-out"
        )
    return kept, out
