"""The controls of the page, described by the fields of a recipe."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jaxnst._checks import among
from jaxnst.losses.distances import DISTANCES
from jaxnst.losses.statistics import STATISTICS
from jaxnst.networks.registry import NETWORKS
from jaxnst.recipes import RECIPES, STAND_IN, get_recipe, recipe_on
from jaxnst.recipes.schema import (
    STARTS,
    LayerNames,
    LayerWeights,
    Recipe,
    option_name,
    options,
    override,
    without_none,
)
from jaxnst.weights.fetch import is_fetched

FIRST = ("style_weight", "style_scale", "tv_weight", "colors")
"""Options of recipes on the page's first screen, beside the size."""

METHOD = ("recipe", "network", "size", "seed", "init", "optimizer", "scales")
"""Settings with which a painting begins: another value of one begins another painting."""

SIZES = (256, 384, 512, 768, 1024)
"""Longest sides to choose from, pixels."""

SIZE = 512

LARGEST = 4096
"""Longest side of a version that is painted larger, pixels."""


@cache
def offered_networks() -> list[str]:
    """List the loss networks whose parameters are on this machine."""
    names = [name for name in NETWORKS if name != "vgg19-lite"]
    return [name for name in names if NETWORKS[name].file is not None or is_fetched(name)]


def network_for(recipe: str) -> str | None:
    """Return the network that a recipe runs on here, or None if there is none."""
    meant = get_recipe(recipe)
    if meant.network in offered_networks():
        return meant.network
    return STAND_IN if meant.approximation is not None else None


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe that settings amount to: ``recipe``, ``network`` and its options, by name.

    Raises:
      KeyError: There is no such recipe.
      TypeError: There is no such option.
      ValueError: A value is of the wrong type or out of range, or a name is not offered.
    """
    name = settings.get("recipe", "default")
    network = settings.get("network") or network_for(name)
    if network not in offered_networks():
        raise ValueError(f"network is {network!r}, expected one of {', '.join(offered_networks())}")
    recipe = recipe_on(get_recipe(name), network)
    paths = {option_name(flag): path for flag, (path, _, _) in options(recipe).items()}
    overrides = {key: value for key, value in settings.items() if key in paths}
    if "init" in overrides:  # which may name a file elsewhere
        among("init", overrides["init"], STARTS)
    return override(recipe, overrides)


def read_value(name: str, value: Any) -> Any:
    """Return a value that the page sent: layers with their values come as one text.

    Raises:
      ValueError: It is not a number where one is expected.

    Example:
      >>> read_value("style_layers", "relu1_1:0.5, relu3_1")
      (('relu1_1', 0.5), ('relu3_1', 1.0))
      >>> read_value("colors", "linear"), read_value("scales", "128,256")
      ('linear', (128, 256))
    """
    hint = _hints().get(name)
    if hint is float and value is not None:
        if not isinstance(value, int | float):
            label = name.replace("_", " ")
            raise ValueError(f"{label} is {value!r:.60}, expected a number")
        return float(value)
    if get_origin(hint) is not tuple or not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()]
    if hint not in (LayerWeights, LayerNames):
        return () if value == "auto" else tuple(int(part) for part in parts)
    pairs = [part.partition(":") for part in parts]
    if hint == LayerNames:
        return tuple((layer, word) for layer, _, word in pairs)
    return tuple((layer, float(weight or 1)) for layer, _, weight in pairs)


def written(value: Any) -> Any:
    """Return a value as the page shows it, the inverse of :func:`read_value`.

    Example:
      >>> written((("relu1_1", 0.5), ("relu3_1", 1.0))), written(5.0)
      ('relu1_1:0.5,relu3_1:1', 5.0)
    """
    if not isinstance(value, tuple):
        return value
    parts = (part if isinstance(part, tuple) else (part,) for part in value)
    return ",".join(
        ":".join(f"{x:g}" if isinstance(x, float) else str(x) for x in p) for p in parts
    )


def describe(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describe all controls for JSON, in the order of the page.

    Args:
      settings: ``recipe`` and ``network``, of which the defaults are those described.

    Returns:
      For each its ``name``, ``label``, ``help``, ``kind`` (number, choice, text), ``value`` (its
      default), ``first`` (whether it is on the first screen), ``restarts`` (whether another value
      begins another painting) and, if it has them, ``choices`` with a help for each, or a slider's
      ``least``, ``greatest`` and ``log``.
    """
    recipe = recipe_of({key: settings[key] for key in ("recipe", "network") if key in settings})
    recipes = {name: r.summary for name, r in RECIPES.items() if network_for(name)}
    networks = {
        name: "downloaded parameters" if NETWORKS[name].file is None else "ships with jaxnst"
        for name in offered_networks()
    }
    sizes, about = dict.fromkeys(SIZES, ""), "longest side of the picture, pixels"
    controls = [
        _row("size", SIZE, help=about, choices=sizes, first=True),
        _row("recipe", recipe.name, label="Recipe", help="the method", choices=recipes),
        _row(
            "network", recipe.network, help="network whose features are compared", choices=networks
        ),
        _row("seed", 0, help="decides the noise of a start from noise"),
    ]
    for flag, (path, field, value) in options(recipe).items():
        name, metadata = option_name(flag), field.metadata
        row = _row(name, written(value), first=name in FIRST, **metadata)
        choices = metadata.get("choices") or _choices(name, _hints()[name])
        if choices:
            row |= {"kind": "choice", "choices": dict.fromkeys(choices, "")}
        elif _hints()[name] in (int, float):
            row["kind"] = "number"
        if "span" in metadata:
            row |= dict(zip(("least", "greatest"), metadata["span"], strict=True)) | {"log": False}
        if "spread" in metadata:
            middle, spread = value or field.default, metadata["spread"]
            row |= {"least": middle / spread, "greatest": middle * spread, "log": True}
        row["part"] = path[0]
        controls.append(row)
    order = {name: place for place, name in enumerate((*FIRST, "size"))}
    return sorted(controls, key=lambda row: order.get(row["name"], len(order)))


def _row(name: str, value: Any, *, help: str, first: bool = False, **more: Any) -> dict[str, Any]:
    choices = more.get("choices")
    number = isinstance(value, int | float) and not choices
    row: dict[str, Any] = {
        "name": name,
        "label": more.get("label") or name.replace("_", " ").capitalize(),
        "help": help.partition(" (default")[0].partition(", or a picture")[0],
        "kind": "choice" if choices else "number" if number else "text",
        "value": value,
        "first": first,
        "restarts": name in METHOD,
        "part": "method",
    }
    return row | ({"choices": choices} if choices else {})


@cache
def _hints() -> dict[str, Any]:
    """List the type of each option, by name, without None."""
    recipe = Recipe()
    hints = {}
    for flag, (path, field, _) in options(recipe).items():
        owner = recipe if len(path) == 1 else getattr(recipe, path[0])
        hints[option_name(flag)] = without_none(get_type_hints(type(owner))[field.name])[0]
    return hints


def _choices(name: str, hint: Any) -> tuple[str, ...]:
    """List the names that an option may have; empty if it has no such list."""
    registries: dict[str, Any] = {
        "style_statistic": STATISTICS,
        "style_distance": DISTANCES,
        "init": STARTS,
    }
    return get_args(hint) if get_origin(hint) is Literal else tuple(registries.get(name, ()))
