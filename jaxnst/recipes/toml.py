"""Recipes as TOML files: what ``--show-recipe`` prints and ``--recipe FILE.toml`` reads.

A file holds what differs from the recipe named as ``base`` (without one: the default). Parts
of a recipe are tables, layers with their weights as well::

    base = "gatys2016"

    [style]
    weight = 2000.0

    [style.layers]
    relu1_1 = 1.0
    relu4_1 = 0.5

TOML has no word for "none": what a base sets and may be without, such as ``bounds``, stays set.
"""

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jaxnst._checks import unknown
from jaxnst.recipes.builtin import base_recipe
from jaxnst.recipes.schema import LayerNames, LayerWeights, Recipe, without_none

MAX_BYTES = 2**20


def format_recipe(recipe: Recipe) -> str:
    """Write a recipe as TOML, with every field that it has a value for."""
    return "\n".join(_lines(recipe, ())) + "\n"


def read_recipe(
    path: str | os.PathLike[str], *, base: Callable[[str, str], Recipe] = base_recipe
) -> Recipe:
    r"""Read a recipe from a TOML file.

    Args:
      path: The file.
      base: From a recipe's name, and that of the network which the file names or "", to the recipe
        that the file starts from; raises KeyError for unknown ones.

    Raises:
      OSError: If it cannot be read.
      ValueError: If it is no TOML, or something in it is unknown, of another type or out of range;
        in one line that says where.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "mine.toml")
      ...     length = path.write_text("base = 'gatys2016'\nstyle.weight = 20.0")
      ...     recipe = read_recipe(path)
      >>> recipe.name, recipe.network, recipe.style.weight
      ('mine', 'vgg19', 20.0)
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ValueError(f"{name} is larger than {MAX_BYTES // 2**20} MiB: that is not a recipe")
    try:
        table = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no TOML file: {error}") from None
    try:
        start = _value(str, table.pop("base", "default"), "base")
        table.setdefault("name", os.path.splitext(os.path.basename(name))[0])
        network = _value(str, table.get("network", ""), "network")
        return recipe_from(table, base(start, network))
    except KeyError as error:
        raise ValueError(f"{name}: base: {error.args[0]}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def recipe_from(table: dict[str, Any], start: Recipe) -> Recipe:
    """Return a recipe with what a table says, of the form that a file has, but for a base.

    Raises:
      ValueError: If something in it is unknown, of another type or out of range.
    """
    return _merged(start, table, ())


def _lines(part: Any, path: tuple[str, ...]) -> list[str]:
    """Write one dataclass: its own values, then its tables."""
    own, tables = [], []
    hints = get_type_hints(type(part))
    for field in dataclasses.fields(part):
        value, here = getattr(part, field.name), (*path, field.name)
        if value is None:
            continue
        if dataclasses.is_dataclass(value):
            tables += ["", f"[{'.'.join(here)}]", *_lines(value, here)]
        elif hints[field.name] in (LayerWeights, LayerNames):
            pairs = [f"{_key(layer)} = {_literal(v)}" for layer, v in value]
            tables += ["", f"[{'.'.join(here)}]", *pairs]
        else:
            own.append(f"{field.name} = {_literal(value)}")
    return own + tables


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _literal(name)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # as TOML wants
    if isinstance(value, tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value)


def _merged(part: Any, table: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Return a dataclass with the fields that a table gives."""
    hints = get_type_hints(type(part))
    changes = {}
    for key, value in table.items():
        where = ".".join((*path, key))
        if key not in hints:
            raise ValueError(unknown("key", key, hints, within=where.removesuffix(key)))
        kind, _ = without_none(hints[key])
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, dict):
                raise ValueError(f"{where} is {value!r}, expected a table [{where}]")
            current = getattr(part, key)
            if current is None:
                current = kind()  # type: ignore[operator]
            changes[key] = _merged(current, value, (*path, key))
        else:
            changes[key] = _value(kind, value, where)
    return dataclasses.replace(part, **changes)


def _value(kind: Any, value: Any, where: str) -> Any:
    """Take a value of a file to a field's type."""
    if kind in (LayerWeights, LayerNames):
        of = float if kind == LayerWeights else str
        if not isinstance(value, dict):
            raise ValueError(f"{where} is {value!r}, expected a table [{where}] of layers")
        return tuple((layer, _value(of, v, f"{where}.{layer}")) for layer, v in value.items())
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        several = kinds[-1] is Ellipsis
        if not isinstance(value, list) or (not several and len(value) != len(kinds)):
            count = "" if several else f"{len(kinds)} "
            raise ValueError(f"{where} is {value!r}, expected a list of {count}numbers")
        return tuple(_value(kinds[0], v, where) for v in value)
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise ValueError(f"{where} is {value!r}, expected one of {', '.join(get_args(kind))}")
    if kind is float and type(value) is int and abs(value) < 1e300:
        return float(value)
    expected = str if get_origin(kind) is Literal else kind
    if type(value) is not expected:
        names = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
        raise ValueError(f"{where} is {value!r}, expected {names[expected]}")
    return value
