"""Style transfer from arrays to an array."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax

from jaxnst._numerics import default_numerics
from jaxnst.image.exchange import ImageLike
from jaxnst.networks.registry import LossNetwork
from jaxnst.recipes.schema import Precision, Recipe
from jaxnst.transfer.change import Change
from jaxnst.transfer.checkpoint import Checkpoint
from jaxnst.transfer.guidance import StyleMix
from jaxnst.transfer.result import Progress, StylizeResult
from jaxnst.transfer.run import run_of
from jaxnst.transfer.runner import optimize


@default_numerics()
def stylize(
    content: "ImageLike",
    styles: "ImageLike | Sequence[ImageLike]",
    *,
    network: str | LossNetwork | None = None,
    recipe: str | Recipe = "default",
    size: int | None = None,
    style_size: int | None = None,
    style_mix: "StyleMix | None" = None,
    masks: "Sequence[ImageLike]" = (),
    style_masks: "Sequence[ImageLike]" = (),
    init: "ImageLike | None" = None,
    seed: int = 0,
    callback: Callable[[Progress], object] | None = None,
    every: int | None = None,
    precision: Precision | None = None,
    remat: bool = False,
    tile: int | Literal["auto"] | None = None,
    devices: Sequence[jax.Device] = (),
    resume: Checkpoint | None = None,
    changes: Sequence[Change] = (),
    **overrides: Any,
) -> StylizeResult:
    """Paint a content image in the manner of one or several style images.

    Args:
      content: The path of a file, a Pillow image, or an array of NumPy, JAX or PyTorch,
        ``(H, W, 3)`` RGB: floating point in [0, 1], or uint8, which is divided by 255. With a
        fourth channel, its opacity: what is transparent neither counts nor changes, and the result
        has that channel too (unless all is opaque).
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
      masks: Regions of the content, paths, Pillow images or arrays ``(H, W)`` in [0, 1], of its
        aspect and any size, soft edges kept. With as many masks as styles, each style is painted in
        its region; a single style is painted in all regions, and several in a single one are mixed.
        What no mask covers has no style.
      style_masks: Which part of each style counts. Several masks with a single style use each
        masked part as a style in its own right.
      init: Image to start from, in place of the recipe's start; or the name of a start, such as
        ``noise``.
      seed: Decides the noise of a start from noise.
      callback: Called about once a second, after every round of L-BFGS, and whenever a scale
        begins or a change is applied. It may raise to stop. It may return a mapping of options to
        change (:class:`jaxnst.Change`): the run continues while they are prepared, and then
        proceeds from its current image with the new options. Further changes returned in the
        meantime are merged, later values winning, and applied next. After the last evaluation, a
        larger ``steps`` continues the run.
      every: Call it after every so many evaluations as well, counted over all scales.
      precision: How exactly the network computes: ``float32``, ``tf32`` or ``bfloat16``
        (:mod:`jaxnst.networks.precision`); None: the network's own, ``float32`` unless configured.
      remat: Whether to take less memory and more time: feature maps are recomputed for the
        gradient, block by block, instead of being kept. The picture is the same up to rounding.
      tile: Longest side of the tiles in which pictures are processed, pixels, for sizes that do not
        fit into memory; they overlap, and a smaller picture is processed whole. The picture is the
        same up to rounding, without seams. None: always whole; ``auto``: whole if that fits, by an
        estimate, else in the largest tiles that do. Where not even tiles fit with ten of L-BFGS's
        pairs, it keeps 5, or 3, which changes the picture a little, unless the recipe sets their
        number (``solver_memory=10``).
      devices: Of one kind; tiles are divided between them, and each holds the whole picture and
        the optimizer's state. Fewer than two, or no tiles: JAX's default device.
      resume: Checkpoint of a run with the same arguments (``Progress.checkpoint``). The result is
        that of a run that never stopped: byte-identical on the same CPU with the same versions and
        number of threads.
      changes: New values of options, each from an evaluation on; those of ``StylizeResult.changes``
        repeat a run that its callback changed, byte for byte on the same CPU. One that the run does
        not reach is not applied.
      **overrides: Fields of the recipe, set by the flags of the command line with underscores
        (``style_weight=15``, ``steps=100``, ``colors="linear"``), by part and field
        (``solver_memory=20``), or as a whole (``style=jaxnst.Style(...)``). They are set after the
        recipe has been adapted to the network.

    Returns:
      The picture, its losses over time, and counts.

    Raises:
      FileNotFoundError: If there is no such file.
      TypeError: If there is no such option, or an image holds integers other than uint8.
      ValueError: If an image has the wrong shape or values, a side under 16 pixels, or the
        recipe asks for something that does not exist, or for what the network cannot do, or
        ``resume`` is of a run with other arguments; if a change is of an option that cannot
        change; if tiles are too small, or a statistic cannot
        be computed in them; or if none of the run's losses is finite,
        since weights are too large.
      KeyError: If a recipe, network or layer does not exist.

    Example:
      ``jaxnst.stylize("photo.jpg", "painting.jpg", size=512, style_weight=15).save("out.png")``
    """
    if every is not None and every < 1:
        raise ValueError(f"every is {every}, expected at least 1 evaluation")
    run = run_of(
        content,
        styles,
        network=network,
        recipe=recipe,
        size=size,
        style_size=style_size,
        style_mix=style_mix,
        masks=masks,
        style_masks=style_masks,
        init=init,
        seed=seed,
        precision=precision,
        remat=remat,
        tile=tile,
        devices=devices,
        **overrides,
    )
    return optimize(run, callback=callback, every=every, resume=resume, changes=changes)
