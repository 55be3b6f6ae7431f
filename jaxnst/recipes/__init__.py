"""Recipes by name. A recipe is data: a method of style transfer, completely."""

import difflib
from dataclasses import replace

from jaxnst.config import LayerWeights, Recipe
from jaxnst.recipes.published import PUBLISHED
from jaxnst.recipes.toml_file import format_recipe, read_recipe

__all__ = [
    "DEFAULT",
    "RECIPES",
    "STAND_IN",
    "format_recipe",
    "get_recipe",
    "is_approximation",
    "read_recipe",
    "recipe_on",
]

STAND_IN = "vgg19-lite"
"""The network that ships with jaxnst, and stands in for others."""

DEFAULT = Recipe(
    name="default",
    summary="covariances of five layers, coarse to fine, L-BFGS",
)
"""Ours: mean and covariance at relu1_1 ... relu5_1, each relative to the style's own, which weighs
large forms and fine texture alike at every size; content at relu4_2; three scales from coarse to
fine, which gives strokes as large as the painting's. How it was chosen: docs/performance.md."""

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (DEFAULT, *PUBLISHED)}


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
      KeyError: If there is none of that name; the message gives the nearest.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, 1, 0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise KeyError(f"unknown recipe {name!r}: {hint}known are {', '.join(RECIPES)}")
    return RECIPES[name]


def recipe_on(recipe: Recipe, network: str) -> Recipe:
    """Return a recipe as it runs on a network: for ``vgg19-lite`` in another's place, adapted.

    Layers that it lacks are replaced, and terms weighted, as the recipe's
    :class:`~jaxnst.config.Approximation` says.
    """
    stand_in = recipe.approximation
    if network != STAND_IN or recipe.network == STAND_IN or stand_in is None:
        return recipe
    names = dict(stand_in.layers)

    def renamed(layers: LayerWeights) -> LayerWeights:
        return tuple((names.get(layer, layer), weight) for layer, weight in layers)

    content, style, tv = recipe.content, recipe.style, recipe.tv
    return replace(
        recipe,
        network=STAND_IN,
        preprocessing=None,  # which is another network's
        content=replace(
            content,
            weight=content.weight * stand_in.content,
            layers=renamed(content.layers),
        ),
        style=replace(style, weight=style.weight * stand_in.style, layers=renamed(style.layers)),
        tv=replace(tv, weight=tv.weight * stand_in.tv),
    )


def is_approximation(recipe: Recipe) -> bool:
    """Tell a recipe that :func:`recipe_on` has adapted."""
    return recipe.network == STAND_IN and recipe.approximation is not None
