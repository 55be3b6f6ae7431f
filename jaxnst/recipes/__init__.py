"""Recipes: style transfer methods as data, by name or from TOML files."""

from dataclasses import replace
from typing import TypeVar

from jaxnst._checks import unknown
from jaxnst.recipes.builtin import DEFAULT, RECIPES
from jaxnst.recipes.schema import (
    SHIPPED,
    Approximation,
    Colors,
    Content,
    Noise,
    Recipe,
    Scales,
    Solver,
    Space,
    Style,
    TotalVariation,
)
from jaxnst.recipes.toml import format_recipe, read_recipe, recipe_from

T = TypeVar("T")

__all__ = [
    "DEFAULT",
    "RECIPES",
    "STAND_IN",
    "Approximation",
    "Colors",
    "Content",
    "Noise",
    "Recipe",
    "Scales",
    "Solver",
    "Space",
    "Style",
    "TotalVariation",
    "base_recipe",
    "format_recipe",
    "get_recipe",
    "is_approximation",
    "read_recipe",
    "recipe_from",
    "recipe_on",
]

STAND_IN = SHIPPED
"""The network that stands in for others."""


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
      KeyError: If there is none of that name; the message gives the nearest.
    """
    if name not in RECIPES:
        raise KeyError(unknown("recipe", name, RECIPES))
    return RECIPES[name]


def recipe_on(recipe: Recipe, network: str) -> Recipe:
    """Return a recipe as it runs on a network: for ``vgg16-lite`` in another's place, adapted.

    Layers that it lacks are replaced, and terms weighted, as the recipe's
    :class:`~jaxnst.recipes.schema.Approximation` says.
    """
    stand_in = recipe.approximation
    if network != STAND_IN or recipe.network == STAND_IN or stand_in is None:
        return recipe
    names = dict(stand_in.layers)

    def renamed(layers: tuple[tuple[str, T], ...]) -> tuple[tuple[str, T], ...]:
        return tuple((names.get(layer, layer), value) for layer, value in layers)

    content, style = recipe.content, recipe.style
    return replace(
        recipe,
        network=STAND_IN,
        preprocessing=None,  # which is another network's
        content=replace(
            content,
            weight=content.weight * stand_in.content,
            layers=renamed(content.layers),
        ),
        style=replace(
            style,
            weight=style.weight * stand_in.style,
            layers=renamed(style.layers),
            statistics=renamed(style.statistics),
            distances=renamed(style.distances),
        ),
    )


def base_recipe(name: str, network: str) -> Recipe:
    """Return a recipe by name as it runs on a network, for :func:`read_recipe`."""
    return recipe_on(get_recipe(name), network)


def is_approximation(recipe: Recipe) -> bool:
    """Tell a recipe that :func:`recipe_on` has adapted."""
    return recipe.network == STAND_IN and recipe.approximation is not None
