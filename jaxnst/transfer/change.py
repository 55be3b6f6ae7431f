"""Changes during a run: new values of options, from an evaluation on."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxnst._checks import check
from jaxnst._files import digest_of
from jaxnst.image.record import ROLES, RecordedChange, Source, source_of

FIXED = (
    *("content", "network", "recipe", "size", "style_size", "seed", "init", "noise", "precision"),
    *("remat", "tile", "devices", "callback", "every", "resume", "changes"),
    *("name", "summary", "approximation"),
)
"""Options, and fields of a recipe, that a run keeps to its end."""


@dataclass(frozen=True, eq=False)
class Change:
    """New values of options of :func:`jaxnst.stylize`, from an evaluation of a run on.

    The run continues with them from its image at that point, and the optimizer starts afresh there.
    Values that differ in numbers only compile nothing.

    Attributes:
      evaluation: After how many evaluations, counted over all scales.
      options: By name: ``styles``, ``style_mix``, ``masks``, ``style_masks``, and fields of the
        recipe by the keywords of :func:`jaxnst.stylize` (``style_weight``, ``colors``). ``steps``
        is the number of evaluations of the whole run, of which the last scale gets what the others
        leave; a run that has taken so many ends where it is. A change of ``steps`` alone leaves the
        optimizer as it is.

    Example:
      ``jaxnst.stylize(photo, painting, changes=[jaxnst.Change(60, {"style_weight": 15})])``
    """

    evaluation: int
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        count = self.evaluation
        fits = isinstance(count, int) and count >= 0
        check("evaluation of a change", count, fits, "a whole number, 0 or above")

    @cached_property
    def words(self) -> str:
        """The change in words, which differ for other changes."""
        values = (f"{name}={_word(name, value)}" for name, value in sorted(self.options.items()))
        return f"after {self.evaluation} evaluations: {', '.join(values)}"


def change_words(changes: Sequence[Change]) -> dict[str, str]:
    """List changes by name, as part of what decides the picture of a run."""
    return {f"change {i}": change.words for i, change in enumerate(changes, 1)}


def sources_of(role: str, pictures: Any) -> tuple[Source, ...]:
    """Describe the pictures of a role, given by their paths, for a record.

    Raises:
      OSError: A file cannot be read.
      ValueError: One is not a file.
    """
    paths = () if pictures is None else _several(pictures)
    if not all(map(_is_path, paths)):
        raise ValueError(f"a record names the {role} by its file, but it is an array: give a path")
    return tuple(source_of(role, path) for path in paths)


def recorded(change: Change) -> RecordedChange:
    """Describe a change for the record of a picture.

    Raises:
      OSError: A file cannot be read.
      ValueError: One of its pictures is not a file, or a value is none that a record holds.
    """
    options: dict[str, Any] = {}
    for name, value in change.options.items():
        if name in ROLES:
            options[name] = sources_of(ROLES[name], value)
        elif dataclasses.is_dataclass(value):
            parts = ((part.name, getattr(value, part.name)) for part in dataclasses.fields(value))
            options |= {f"{name}_{part}": _plain(inner) for part, inner in parts}
        else:
            options[name] = _plain(value)
    return RecordedChange(evaluation=change.evaluation, options=options)


def refuse_fixed(names: Sequence[str]) -> None:
    """Raise ValueError if one of some options has to stay as it is to the end of a run."""
    for name in names:
        if name in FIXED or name.startswith(("noise_", "approximation_")):
            raise ValueError(
                f"{name} cannot change during a run: what can are styles, style_mix, masks, "
                "style_masks and fields of the recipe, such as style_weight, colors and steps"
            )


def _word(name: str, value: Any) -> str:
    return "+".join(map(_digest, _several(value))) if name in ROLES else repr(value)


def _digest(picture: Any) -> str:
    if _is_path(picture):
        return source_of("file", picture).sha256
    return digest_of({"image": np.asarray(picture)})


def _several(pictures: Any) -> Sequence[Any]:
    """Return one or several pictures as a sequence."""
    single = _is_path(pictures) or not hasattr(pictures, "__len__")
    return [pictures] if single or getattr(pictures, "ndim", 0) == 3 else pictures


def _is_path(picture: Any) -> bool:
    return isinstance(picture, str | os.PathLike)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
