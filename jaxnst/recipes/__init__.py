"""Recipes: style transfer methods as data, by name or from TOML files."""

from jaxnst.recipes.builtin import (
    DEFAULT,
    RECIPES,
    STAND_IN,
    as_recipe,
    base_recipe,
    get_recipe,
    is_approximation,
    recipe_on,
)
from jaxnst.recipes.schema import (
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
    "as_recipe",
    "base_recipe",
    "format_recipe",
    "get_recipe",
    "is_approximation",
    "read_recipe",
    "recipe_from",
    "recipe_on",
]
