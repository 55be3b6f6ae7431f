"""Recipes by name. A recipe is data: a method of style transfer, completely."""

import difflib

from jaxnst.config import Recipe

DEFAULT = Recipe(
    name="default",
    summary="covariances of five layers, coarse to fine, L-BFGS",
)
"""Ours: mean and covariance at relu1_1 ... relu5_1, each relative to the style's own, which weighs
large forms and fine texture alike at every size; content at relu4_2; three scales from coarse to
fine, which gives strokes as large as the painting's. How it was chosen: docs/performance.md."""

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (DEFAULT,)}


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
