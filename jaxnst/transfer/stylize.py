"""Style transfer from arrays to an array."""

from collections.abc import Callable, Sequence

from numpy.typing import ArrayLike

from jaxnst._checks import check_picture, style_pictures
from jaxnst._numerics import default_numerics
from jaxnst.networks.registry import LossNetwork
from jaxnst.recipes import get_recipe
from jaxnst.recipes.schema import Precision, Recipe
from jaxnst.transfer.checkpoint import Checkpoint
from jaxnst.transfer.guidance import StyleMix
from jaxnst.transfer.result import Progress, ScaleTiming, StylizeResult
from jaxnst.transfer.run import loss_network, make_run
from jaxnst.transfer.runner import optimize
from jaxnst.transfer.style_cache import StyleImage

__all__ = [
    "Progress",
    "ScaleTiming",
    "StylizeResult",
    "stylize",
]


@default_numerics()
def stylize(
    content: ArrayLike,
    styles: ArrayLike | Sequence[ArrayLike],
    *,
    network: str | LossNetwork | None = None,
    recipe: str | Recipe = "default",
    size: int | None = None,
    style_size: int | None = None,
    style_mix: StyleMix | None = None,
    masks: Sequence[ArrayLike] = (),
    style_masks: Sequence[ArrayLike] = (),
    init: ArrayLike | None = None,
    seed: int = 0,
    callback: Callable[[Progress], None] | None = None,
    every: int | None = None,
    precision: Precision | None = None,
    remat: bool = False,
    resume: Checkpoint | None = None,
) -> StylizeResult:
    """Paint a content image in the manner of one or several style images.

    Args:
      content: ``(H, W, 3)`` RGB in [0, 1]. With a fourth channel, its opacity: what is transparent
        neither counts nor changes, and the result has that channel too (unless all is opaque).
      styles: One such image or several, of any sizes; what is transparent does not count.
      network: A loss network or its name; None: the recipe's. For ``vgg16-lite`` in the place of
        another, the recipe is adapted (:func:`jaxnst.recipes.recipe_on`).
      recipe: A recipe or its name.
      size: Longest side of the result, pixels; None: the recipe's size, else the content's. A
        recipe with an aspect of its own (``scales.aspect``) stretches the content to that, upright
        where the content is.
      style_size: Longest side of the style images at the last scale; None: ``size``. A style is
        never enlarged beyond its own size, except by rounding of its sides, at most 3 %.
      style_mix: Weights of the styles; or such weights by layer, ``""`` for all others:
        ``{"": (1, 0), "relu1_1": (0, 1)}`` takes the finest structure from the second. None: equal
        parts.
      masks: Regions of the content, ``(H, W)`` in [0, 1], of its aspect and any size, soft edges
        kept. With as many masks as styles, each style is painted in its region; a single style is
        painted in all regions, and several in a single one are mixed. What no mask covers has no
        style.
      style_masks: For each style which part of it counts; several for a single style make several
        styles of it.
      init: Picture to start from, in place of the recipe's start.
      seed: Decides the noise of a start from noise.
      callback: Called about once a second, after every round of L-BFGS, and whenever a scale
        begins. It may raise to stop.
      every: Call it after every so many evaluations as well, counted over all scales.
      precision: How exactly the network computes: ``float32``, ``tf32`` or ``bfloat16``
        (:mod:`jaxnst.networks.precision`); None: the network's own, ``float32`` unless configured.
      remat: Whether to take less memory and more time: feature maps are recomputed for the
        gradient, block by block, instead of being kept. The picture is the same up to rounding.
      resume: Checkpoint of a run with the same arguments (``Progress.checkpoint``). The result is
        that of a run that never stopped: byte-identical on the same CPU with the same versions and
        number of threads.

    Returns:
      The picture, its losses over time, and counts.

    Raises:
      ValueError: If an image has the wrong shape or values, a side under 16 pixels, or the
        recipe asks for something that does not exist, or for what the network cannot do, or
        ``resume`` is of a run with other arguments; or if none of the run's losses is finite,
        since weights are too large.
      KeyError: If a recipe, network or layer does not exist.
    """
    if every is not None and every < 1:
        raise ValueError(f"every is {every}, expected at least 1 evaluation")
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    run = make_run(
        StyleImage(check_picture("content", content, opacity=True)),
        [
            StyleImage(check_picture(name, style, opacity=True))
            for name, style in style_pictures(styles)
        ],
        loss_network(network, recipe, precision=precision),
        recipe,
        style_mix=style_mix,
        masks=masks,
        style_masks=style_masks,
        size=size,
        style_size=style_size,
        seed=seed,
        remat=remat,
        init=None if init is None else check_picture("init", init),
    )
    return optimize(run, callback=callback, every=every, resume=resume)
