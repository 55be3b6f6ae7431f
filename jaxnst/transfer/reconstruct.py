"""Reconstructions: pictures made from noise by the loss of single layers.

Content reconstruction minimizes the content term of one layer (Gatys et al. 2016, figure 1, above;
Mahendran and Vedaldi 2015) and shows what that layer preserves of a photograph. Style
reconstruction, or texture synthesis (Gatys et al. 2015, figure 1, below), minimizes the style term
of one layer or of several. They help to choose layers.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import jax.numpy as jnp

from jaxnst._numerics import default_numerics
from jaxnst.image.exchange import ImageLike, as_image
from jaxnst.networks.registry import LossNetwork, load_network
from jaxnst.optim.sharding import default_device, mesh_of
from jaxnst.recipes.schema import SHIPPED, Content, Noise, Recipe, Scales, Style, TotalVariation
from jaxnst.transfer.result import Picture, Progress, StylizeResult
from jaxnst.transfer.run import Run
from jaxnst.transfer.runner import optimize, optimize_side_by_side
from jaxnst.transfer.style_cache import StyleCache

RECIPE = Recipe(
    name="reconstruction",
    summary="one layer's loss alone, from noise",
    init="noise",
    noise=Noise(distribution="uniform", centre=0.5, spread=0.5),
    content=Content(weight=1.0, normalization="target"),
    style=Style(weight=1.0, statistic="gram", distance="target"),
    tv=TotalVariation(weight=0.0),
    scales=Scales(style_like_content=True, multiple=1, several=False, evaluations=(400,)),
)
"""Losses are relative to the picture's own features or Gram matrices, to be comparable between
layers: 1 is as far as an empty feature map, 0 is the picture."""

Layers = tuple[str, ...]


class Reconstruction(NamedTuple):
    """A picture made from layers of another, and how near it came.

    Attributes:
      layers: The layers it was made from.
      image: ``(H, W, 3)`` float32 RGB in [0, 1].
      loss: By the default recipe, the relative squared error of their features or Gram matrices,
        averaged over the layers.
    """

    layers: Layers
    image: Picture
    loss: float


class ReconstructProgress(NamedTuple):
    """Progress, passed to the callback.

    Attributes:
      layers: Of the reconstruction at work, or of all if they are made together.
      done: Evaluations so far, of all reconstructions.
      total: Evaluations in all.
    """

    layers: Layers
    done: int
    total: int


@default_numerics()
def reconstruct_content(
    image: "ImageLike",
    layers: str | Sequence[str],
    *,
    network: str | LossNetwork = SHIPPED,
    recipe: Recipe = RECIPE,
    size: int | None = None,
    seed: int = 0,
    together: bool = False,
    callback: Callable[[ReconstructProgress], None] | None = None,
) -> list[Reconstruction]:
    """Make pictures from what single layers keep of a picture's content.

    Args:
      image: A path, a Pillow image or an array, as for :func:`jaxnst.stylize`.
      layers: Layers of the network, one reconstruction for each; or one layer.
      network: A loss network or its name.
      recipe: Start, space, solver, evaluations and content normalization.
      size: Longest side, pixels; None: the picture's own.
      seed: Decides the noise.
      together: All in one program, by ``vmap`` over weights that choose the layer: faster on
        accelerators. Else one after the other, each computed no deeper than its layer.
      callback: Called about once a second. It may raise to stop.

    Raises:
      KeyError: If the network has no such layer.
      ValueError: If no layer is given, the picture is none or too small, or no loss is finite.
    """
    groups = [(name,) for name in ([layers] if isinstance(layers, str) else layers)]
    return _reconstruct(
        "content", image, groups, network, recipe, size, seed, together=together, callback=callback
    )


@default_numerics()
def reconstruct_style(
    image: "ImageLike",
    layers: str | Sequence[str | Sequence[str]],
    *,
    network: str | LossNetwork = SHIPPED,
    recipe: Recipe = RECIPE,
    size: int | None = None,
    seed: int = 0,
    together: bool = False,
    callback: Callable[[ReconstructProgress], None] | None = None,
) -> list[Reconstruction]:
    """Make textures from the Gram matrices of layers.

    Args:
      image: A path, a Pillow image or an array, as for :func:`jaxnst.stylize`.
      layers: Layers of the network, one texture for each; a tuple of several gives one texture. Or
        one layer.
      network: A loss network or its name.
      recipe: Start, color space, solver, evaluations, style statistic and distance.
      size: Longest side, pixels; None: the picture's own.
      seed: Decides the noise.
      together: Make all in one program, by ``vmap``: faster on accelerators.
      callback: Called about once a second. It may raise to stop.

    Raises:
      KeyError: If the network has no such layer.
      ValueError: If no layer is given, the picture is invalid or too small, or no loss is finite.
    """
    several = [layers] if isinstance(layers, str) else layers
    groups = [(group,) if isinstance(group, str) else tuple(group) for group in several]
    return _reconstruct(
        "style", image, groups, network, recipe, size, seed, together=together, callback=callback
    )


def _reconstruct(
    term: Literal["content", "style"],
    image: "ImageLike",
    groups: Sequence[Layers],
    network: str | LossNetwork,
    recipe: Recipe,
    size: int | None,
    seed: int,
    *,
    together: bool,
    callback: Callable[[ReconstructProgress], None] | None,
) -> list[Reconstruction]:
    """Make a picture from each group of layers."""
    if not groups or () in groups:
        raise ValueError("layers is empty, expected at least one layer for each picture")
    picture = as_image("picture", image)
    network = load_network(network) if isinstance(network, str) else network
    layers = tuple(dict.fromkeys(layer for group in groups for layer in group))
    for layer in layers:
        network.resolve(layer)
    store = StyleCache()

    def run_of(layers: Layers) -> Run:
        """Prepare a run whose loss has no other layers."""
        weights = tuple((layer, 1 / len(layers)) for layer in layers)
        content, style = recipe.content, recipe.style
        if term == "content":
            content, style = replace(content, layers=weights), replace(style, layers=(), weight=0.0)
        else:
            content = replace(content, layers=(), weight=0.0)
            # The content is the style, so there is no distance to divide by.
            style = replace(style, layers=weights, normalization="none")
        method = replace(recipe, content=content, style=style)
        return Run(picture, [picture], network, method, size=size, seed=seed, store=store)

    def report(layers: Layers, done: int, total: int) -> None:
        if callback is not None:
            callback(ReconstructProgress(layers, done, total))

    results: list[StylizeResult] = []
    # With a line search every picture needs another number of evaluations.
    if together and recipe.solver.line_search == "fixed":
        runs = [run_of(layers) for _ in groups]
        for run, group in zip(runs, groups, strict=True):
            weights = jnp.asarray([(name in group) / len(group) for name in layers])
            run.numbers = run.numbers._replace(**{term: weights})
        done = 0

        def on_steps(_: int, steps: int) -> None:
            nonlocal done
            done += steps * len(runs)
            report(layers, done, sum(run.total for run in runs))

        result_of = optimize_side_by_side(runs, mesh_of(len(runs), [default_device()]), on_steps)
        results = [result_of(i) for i in range(len(runs))]
    else:
        for i, group in enumerate(groups):

            def on_progress(progress: Progress, i: int = i, group: Layers = group) -> None:
                done = i * progress.total + progress.total_done
                report(group, done, len(groups) * progress.total)

            results.append(optimize(run_of(group), callback=on_progress))
    return [
        Reconstruction(group, result.image, float(result.losses["total"][-1]))
        for group, result in zip(groups, results, strict=True)
    ]
