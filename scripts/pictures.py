"""Pictures for scripts: standard pairs, held-out pictures, and center crops."""

from collections.abc import Callable
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
"""Number of pictures that are held out, unless some are named."""


def pair_paths(data: Path, pair: tuple[str, str]) -> tuple[Path, Path]:
    """Return the files of a standard pair."""
    content, style = pair
    return data / f"pictures/content/{content}.jpg", data / f"pictures/style/{style}.jpg"


def centre_crop(image: np.ndarray, side: int) -> np.ndarray:
    """Cut the middle square out of a picture."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def centre_crops(
    pictures: Pictures, side: int, notice: Callable[[str], None] | None = None
) -> list[np.ndarray]:
    """Cut the middle squares out of pictures that are large enough.

    Args:
      pictures: Held-out pictures.
      side: Side of the squares, pixels.
      notice: Called with a line for every picture that cannot be read, which is left out; None: all
        must be readable.

    Raises:
      ValueError: A picture cannot be read, or none is large enough.
    """
    crops = []
    for index in range(len(pictures)):
        try:
            image = jaxnst.load_image(pictures.path(index))
        except (OSError, ValueError) as error:
            if notice is None:
                raise ValueError(f"--held-out: {reason(error)}") from error
            notice(f"held-out picture left out: {reason(error)}")
            continue
        if min(image.shape[:2]) >= side:
            crops.append(centre_crop(image, side))
    if not crops:
        raise ValueError(
            f"none of {len(pictures)} held-out pictures can be read and has {side} "
            "pixels on the shorter side: name others by --held-out"
        )
    return crops


def divided(pictures: Pictures, names: str | None) -> tuple[Pictures, Pictures]:
    """Hold out pictures: those named, or some evenly spaced.

    Raises:
      ValueError: No picture is left to train on, or one that is named does not exist.
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
            f"{len(out)} of {len(pictures)} pictures are held out, which leaves none to train on: "
            "give more, or name fewer by --held-out"
        )
    return kept, out
