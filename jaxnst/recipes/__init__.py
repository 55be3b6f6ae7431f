"""Recipes by name. A recipe is data: a method of style transfer, completely.

Below, F, P and S are feature maps of the image, of the content and of the style, with C channels
and N positions, G are Gram matrices (sums over positions), H x W is the picture's size. What the
posts and papers leave open, and where a recipe differs from them, is said beside each; all of them
differ in two points:

* Statistics are averages over positions, and N of the image comes in again where a formula sums
  over them. With pictures of one size, as the authors have them, that is the same.
* L-BFGS takes fixed steps behind a guard (``jaxnst.lbfgs``), where SciPy and some of PyTorch's
  search along a line. Round for round the losses are as low: docs/recipes.md.
"""

from dataclasses import replace
from typing import TypeVar

from jaxnst._checks import unknown
from jaxnst.config import SHIPPED, Recipe, Style
from jaxnst.recipes import posts, programs
from jaxnst.recipes.toml_file import format_recipe, read_recipe, recipe_from

T = TypeVar("T")

__all__ = [
    "DEFAULT",
    "RECIPES",
    "STAND_IN",
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

DEFAULT = Recipe(
    name="default",
    summary="covariances of five layers, coarse to fine, L-BFGS",
    padding="edge",
    style=Style(weight=3.0),
)
"""Ours: mean and covariance at relu1_1 ... relu5_1, each relative to the style's own, which weighs
large forms and fine texture alike at every size; content at relu4_2; three scales from coarse to
fine, which gives strokes as large as the painting's. How it was chosen: docs/performance.md."""

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        DEFAULT,
        programs.GATYS2016,
        posts.KERAS_VGG16_AVGPOOL,
        posts.KERAS_VGG19_TV,
        posts.KERAS_DENSENET121,
        posts.KERAS_DENSENET169,
        posts.KERAS_DENSENET201,
        posts.PYTORCH_VGG19_ADAM,
        posts.TENSORFLOW_VGG19_MATCONVNET,
        programs.NEURAL_STYLE,
        programs.WASSERSTEIN,
    )
}


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
    :class:`~jaxnst.config.Approximation` says.
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
