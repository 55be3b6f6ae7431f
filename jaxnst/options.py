"""The fields of a recipe that the command line offers, and recipes with one of them changed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxnst.config import Recipe

Option = tuple[tuple[str, ...], dataclasses.Field[Any], Any]
"""A field of a recipe: its path, the field, and its present value."""


def options(recipe: Recipe) -> dict[str, Option]:
    """List what the command line offers of a recipe, by flag."""
    found: dict[str, Option] = {}
    for f in dataclasses.fields(recipe):
        value = getattr(recipe, f.name)
        if "flag" in f.metadata:
            found[f.metadata["flag"]] = ((f.name,), f, value)
        elif dataclasses.is_dataclass(value):
            for g in dataclasses.fields(value):
                if "flag" in g.metadata:
                    found[g.metadata["flag"]] = ((f.name, g.name), g, getattr(value, g.name))
    return found


def replace(recipe: Recipe, path: tuple[str, ...], value: Any) -> Recipe:
    """Return the recipe with one field set, e.g. ``("style", "weight")``."""
    return replace_all(recipe, {path: value})


def replace_all(recipe: Recipe, values: Mapping[tuple[str, ...], Any]) -> Recipe:
    """Return the recipe with fields set at once: what they are together is checked, not the way."""
    changes: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for (name, *inner), value in values.items():
        if inner:
            parts.setdefault(name, {})[inner[0]] = value
        else:
            changes[name] = value
    for name, fields in parts.items():
        changes[name] = dataclasses.replace(getattr(recipe, name), **fields)
    return dataclasses.replace(recipe, **changes)
