"""Batches: pairs of one shape and method are optimized side by side in one program, by ``vmap``.

Every pair has its own targets, weights and noise; the parameters of the loss network are shared.
One step of a batch is one pass of the network over a batch of images, also with L-BFGS, whose
guards are selections. Pairs of different shapes run one after the other, each shape in a program of
its own. All batches of a program have the same number of lanes: spare lanes repeat a pair and are
not reported.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np

from jaxnst._checks import refuse_one_array, style_pictures
from jaxnst._numerics import default_numerics
from jaxnst.image.exchange import ImageLike, as_image
from jaxnst.networks.registry import LossNetwork
from jaxnst.optim.sharding import default_device, lanes_of, mesh_of
from jaxnst.recipes import as_recipe, recipe_on
from jaxnst.recipes.schema import Precision, Recipe, override
from jaxnst.transfer.guidance import StyleMix
from jaxnst.transfer.result import StylizeResult
from jaxnst.transfer.run import Run, loss_network, make_run
from jaxnst.transfer.runner import optimize_side_by_side
from jaxnst.transfer.style_cache import StyleCache, StyleImage

Array: TypeAlias = np.ndarray | jax.Array


class BatchProgress(NamedTuple):
    """Progress of a batch, passed to the callback between chunks.

    Attributes:
      pairs: Indices of the pairs that run side by side at the moment.
      scale: Which scale, from 0.
      scales: How many there are.
      done: Evaluations so far, of all pairs.
      total: Planned for all pairs.
      seconds: Since the batch began.
    """

    pairs: tuple[int, ...]
    scale: int
    scales: int
    done: int
    total: int
    seconds: float


class PairsError(ValueError):
    """Some pairs of a batch have failed, each by itself.

    Attributes:
      errors: What is wrong, by index of the pair.
      results: Of the other pairs, by index.
    """

    def __init__(self, errors: dict[int, ValueError], results: dict[int, StylizeResult]) -> None:
        super().__init__(errors, results)
        self.errors, self.results = errors, results

    def __str__(self) -> str:
        first, *more = sorted(self.errors)
        also = f" (and {len(more)} more)" if more else ""
        return f"pair {first}{also}: {self.errors[first]}"


@default_numerics()
def stylize_batch(
    contents: "Sequence[ImageLike] | Array",
    styles: "Sequence[ImageLike | Sequence[ImageLike]] | Array",
    *,
    network: str | LossNetwork | None = None,
    recipe: str | Recipe | Sequence[str | Recipe] = "default",
    size: int | None = None,
    style_size: int | None = None,
    style_mix: "StyleMix | None" = None,
    masks: "Sequence[Sequence[ImageLike]] | None" = None,
    style_masks: "Sequence[Sequence[ImageLike]] | None" = None,
    seed: int | Sequence[int] = 0,
    at_once: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    only: Sequence[int] | None = None,
    store: StyleCache | None = None,
    callback: Callable[[BatchProgress], None] | None = None,
    precision: Precision | None = None,
    remat: bool = False,
    tile: int | Literal["auto"] | None = None,
    **overrides: Any,
) -> list[StylizeResult]:
    """Paint many content images, each in the manner of its own style images.

    Args:
      contents: Images of any sizes, each of any kind that :func:`jaxnst.stylize` takes; or an array
        of such.
      styles: For each content one such image, or several.
      network: A loss network or its name, for all; None: that of the (first) recipe.
      recipe: A recipe or its name, or one for each pair. Recipes that differ in numbers only share
        one program.
      size: As for :func:`jaxnst.stylize`.
      style_size: Longest side of the style images at the last scale, pixels; None: ``size``.
      style_mix: Weights of the styles, for all pairs; see :func:`jaxnst.stylize`.
      masks: Regions of each content, a sequence of masks for each pair; None: no masks.
      style_masks: Masks of each pair's styles, a sequence for each pair; None: no masks.
      seed: Decides the noise of a start from noise; one for all pairs or one for each.
      at_once: Most pairs that run side by side, to bound the memory; None: all of one shape.
      devices: Of one kind; the pairs of a batch are divided between them. None: JAX's default one.
      only: Indices of the pairs to paint. Each keeps the batch and lane it would have if all were
        painted, so that the rest of a batch that was cut short comes out as it would have. Of the
        other pairs only the shapes matter. None: all.
      store: Keeps summaries of styles, to be shared between calls.
      callback: Called about once a second. It may raise to stop.
      precision: As for :func:`jaxnst.stylize`.
      remat: As for :func:`jaxnst.stylize`.
      tile: As for :func:`jaxnst.stylize`; ``auto`` asks whether each pair by itself fits.
      **overrides: Fields of all recipes, as for :func:`jaxnst.stylize`.

    Returns:
      Results in the order of the contents, or of ``only``. Seconds are those of the pair's whole
      batch, evaluations those of the pair.

    Raises:
      ValueError: If an image or an option is invalid (see :func:`jaxnst.stylize`; the message names
        the pair), if the numbers of contents, styles, recipes or seeds differ, if ``only`` names a
        pair that does not exist, or if ``devices`` is empty.
      PairsError: A ValueError, raised at the end: some pairs had no finite loss. It has the
        results of the others.
      KeyError: If a recipe, network or layer does not exist.
    """
    refuse_one_array("contents", contents, 3, "a sequence of pictures: [content]")
    count = len(contents)
    several = f"one entry for each content: [style] * {count}"
    refuse_one_array("styles", styles, 3, several)
    for name, regions in (("masks", masks), ("style_masks", style_masks)):
        several = f"a sequence of masks for each content: [[mask]] * {count}"
        refuse_one_array(name, regions, 3, several)
    recipes = _each("recipes", recipe, count, (str, Recipe))
    seeds = _each("seeds", seed, count, (int, np.integer))
    _each("styles", list(styles), count, ())
    masks, style_masks = ([()] * count if m is None else m for m in (masks, style_masks))
    of_content = _each("sequences of masks", masks, count, ())
    of_styles = _each("sequences of style masks", style_masks, count, ())
    if at_once is not None and at_once < 1:
        raise ValueError(f"at_once is {at_once}, expected at least 1 pair")
    if devices is not None and not devices:
        raise ValueError("devices is empty, expected at least one")
    only = list(range(count) if only is None else only)
    if unknown := [i for i in only if not 0 <= i < count]:
        raise ValueError(f"only has pair {unknown[0]}, expected numbers from 0 to {count - 1}")
    if not only:
        return []
    recipes = [as_recipe(r) for r in recipes]
    network = loss_network(network, recipes[0], precision=precision)
    recipes = [override(recipe_on(r, network.name), overrides) for r in recipes]
    store = StyleCache() if store is None else store
    # A picture is checked once, however many pairs it is in. It is kept, so that its id stays its.
    checked: dict[int, tuple[ImageLike, StyleImage]] = {}

    def check(name: str, image: ImageLike) -> StyleImage:
        if id(image) not in checked:
            checked[id(image)] = image, StyleImage(as_image(name, image, opacity=True))
        return checked[id(image)][1]

    runs = [
        make_run(
            check(f"pair {i}: content", contents[i]),
            [check(f"pair {i}: {name}", style) for name, style in style_pictures(styles[i])],
            network,
            recipes[i],
            style_mix=style_mix,
            masks=of_content[i],
            style_masks=of_styles[i],
            size=size,
            style_size=style_size,
            seed=int(seeds[i]),
            store=store,
            remat=remat,
            tile=tile,
        )
        for i in range(count)
    ]
    devices = [default_device()] if devices is None else devices
    return _optimize(runs, only, devices, at_once, callback)


def _each(name: str, values: Any, count: int, single: tuple[type, ...]) -> Sequence[Any]:
    """Return one value for each pair."""
    if isinstance(values, single):
        return [values] * count
    if len(values) != count:
        raise ValueError(f"there are {len(values)} {name} for {count} contents, expected one each")
    return list(values)


def _optimize(
    runs: Sequence[Run],
    only: Sequence[int],
    devices: Sequence[jax.Device],
    at_once: int | None,
    callback: Callable[[BatchProgress], None] | None,
) -> list[StylizeResult]:
    """Run one batch after the other.

    Raises:
      PairsError: Some pairs have failed.
    """
    groups: dict[Hashable, list[int]] = {}
    for i, run in enumerate(runs):
        groups.setdefault(_program(i, run), []).append(i)
    total, done, begin = sum(runs[i].total for i in only), 0, time.perf_counter()
    results: dict[int, StylizeResult] = {}
    errors: dict[int, ValueError] = {}

    def paint(batch: Sequence[int], lanes: int) -> None:
        pairs = tuple(i for i in batch if i in only)
        if not pairs:
            return
        # Every pair keeps its lane; the other lanes repeat one of the pairs.
        filler = runs[pairs[0]]
        of_lanes = [runs[i] if i in pairs else filler for i in batch]
        of_lanes += [filler] * (lanes - len(batch))

        def report(scale: int, steps: int) -> None:
            nonlocal done
            done += steps * len(pairs)
            if callback is not None:
                scales, seconds = len(filler.schedule.scales), time.perf_counter() - begin
                callback(BatchProgress(pairs, scale, scales, done, total, seconds))

        result_of = optimize_side_by_side(of_lanes, mesh_of(lanes, devices), report)
        for i in pairs:
            try:
                results[i] = result_of(batch.index(i))
            except ValueError as error:
                errors[i] = error

    for members in groups.values():
        lanes = lanes_of(len(members), at_once, len(devices))
        for first in range(0, len(members), lanes):
            paint(members[first : first + lanes], lanes)
    if errors:
        raise PairsError(errors, results)
    return [results[i] for i in only]


def _program(index: int, run: Run) -> Hashable:
    """Say what decides a pair's programs: pairs that agree in it run side by side."""
    inner = tuple((scale.inner, scale.evaluations) for scale in run.schedule.scales)
    # Line searches differ in their evaluations.
    alone = index if run.method.line_search != "fixed" else -1
    of_host = run.method.round, run.method.carry
    return run.objective, run.method, of_host, inner, run.tuning, run.guidance.structure, alone
