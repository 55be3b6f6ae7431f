"""What the picture-making scripts share: the standard pairs."""

from pathlib import Path

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
