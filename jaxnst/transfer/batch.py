"""Batches: pairs of one shape and method are optimized side by side in one program, by ``vmap``.

Every pair has its own targets, weights and noise; the parameters of the loss network are shared.
One step of a batch is one pass of the network over a batch of images, also with L-BFGS, whose
guards are selections. Pairs of different shapes run one after the other, each shape in a program of
its own. All batches of a program have the same number of lanes: spare lanes repeat a pair and are
not reported.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from numpy.typing import ArrayLike

from jaxnst._checks import check_picture, refuse_one_array, style_pictures
from jaxnst._numerics import default_numerics
from jaxnst.networks.registry import LossNetwork, load_network
from jaxnst.optim.sharding import default_device, lanes_of, mesh_of
from jaxnst.recipes import get_recipe, recipe_on
from jaxnst.recipes.schema import Precision, Recipe
from jaxnst.transfer.guidance import StyleMix, make_guidance
from jaxnst.transfer.result import StylizeResult
from jaxnst.transfer.run import Run
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
        also = f" (and so {len(more)} more)" if more else ""
        return f"pair {first}{also}: {self.errors[first]}"


@default_numerics()
def stylize_batch(
    contents: Sequence[ArrayLike] | Array,
    styles: Sequence[ArrayLike | Sequence[ArrayLike]] | Array,
    *,
    network: str | LossNetwork | None = None,
    recipe: str | Recipe | Sequence[str | Recipe] = "default",
    size: int | None = None,
    style_size: int | None = None,
    style_mix: StyleMix | None = None,
    masks: Sequence[Sequence[ArrayLike]] | None = None,
    style_masks: Sequence[Sequence[ArrayLike]] | None = None,
    seed: int | Sequence[int] = 0,
    at_once: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    only: Sequence[int] | None = None,
    store: StyleCache | None = None,
    callback: Callable[[BatchProgress], None] | None = None,
    precision: Precision | None = None,
    remat: bool = False,
) -> list[StylizeResult]:
    """Paint many content images, each in the manner of its own style images.

    Args:
      contents: ``(H, W, 3)`` or ``(H, W, 4)`` in [0, 1], of any sizes, as for
        :func:`jaxnst.stylize`; or an array of such.
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
    none: list[tuple[()]] = [()] * count
    of_content = _each("sequences of masks", none if masks is None else masks, count, ())
    style_masks = none if style_masks is None else style_masks
    of_styles = _each("sequences of style masks", style_masks, count, ())
    if at_once is not None and at_once < 1:
        raise ValueError(f"at_once is {at_once}, expected at least 1 pair")
    if devices is not None and not devices:
        raise ValueError("devices is empty, expected at least one")
    numbers = list(range(count) if only is None else only)
    if unknown := [i for i in numbers if not 0 <= i < count]:
        raise ValueError(f"only has pair {unknown[0]}, expected numbers from 0 to {count - 1}")
    if not numbers:
        return []
    made = [get_recipe(r) if isinstance(r, str) else r for r in recipes]
    network = made[0].network if network is None else network
    network = load_network(network) if isinstance(network, str) else network
    network = network.configure(precision=precision)
    checked, store = _Checked(), StyleCache() if store is None else store
    runs = []
    for i, (content, style) in enumerate(zip(contents, styles, strict=True)):
        whole = checked(f"pair {i}: content", content)
        pictures, guidance = make_guidance(
            whole,
            [checked(f"pair {i}: {of}", s) for of, s in style_pictures(style)],
            style_mix=style_mix,
            masks=of_content[i],
            style_masks=of_styles[i],
        )
        runs.append(
            Run(
                whole.image,
                pictures,
                network,
                recipe_on(made[i], network.name),
                size=size,
                style_size=style_size,
                seed=int(seeds[i]),
                store=store,
                remat=remat,
                guidance=guidance,
            )
        )
    devices = [default_device()] if devices is None else devices
    return _Batches(runs, numbers, devices, at_once, callback).results()


class _Checked:
    """Pictures of a call: each is checked once, however many pairs it is in."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[ArrayLike, StyleImage]] = {}

    def __call__(self, name: str, given: ArrayLike) -> StyleImage:
        if id(given) not in self.known:
            self.known[id(given)] = given, StyleImage(check_picture(name, given, opacity=True))
        return self.known[id(given)][1]


def _each(name: str, given: Any, count: int, single: tuple[type, ...]) -> Sequence[Any]:
    """Return one value for each pair."""
    if isinstance(given, single):
        return [given] * count
    if len(given) != count:
        raise ValueError(f"there are {len(given)} {name} for {count} contents, expected one each")
    return list(given)


class _Batches:
    """All pairs of a call, and how far they are."""

    def __init__(
        self,
        runs: list[Run],
        only: list[int],
        devices: Sequence[jax.Device],
        at_once: int | None,
        callback: Callable[[BatchProgress], None] | None,
    ):
        self.runs, self.only, self.devices, self.callback = runs, only, devices, callback
        self.total = sum(runs[i].total for i in only)
        self.done = 0
        self.begin = time.perf_counter()
        self.found: dict[int, StylizeResult] = {}
        self.failed: dict[int, ValueError] = {}
        groups: dict[Hashable, list[int]] = {}
        for i, run in enumerate(runs):
            groups.setdefault(_program(i, run), []).append(i)
        self.batches: list[list[int]] = []
        self.lanes: list[int] = []
        for members in groups.values():
            lanes = lanes_of(len(members), at_once, len(devices))
            for k in range(0, len(members), lanes):
                self.batches.append(members[k : k + lanes])
                self.lanes.append(lanes)

    def results(self) -> list[StylizeResult]:
        """Run one batch after the other.

        Raises:
          PairsError: Some pairs have failed.
        """
        wanted = set(self.only)
        for members, lanes in zip(self.batches, self.lanes, strict=True):
            here = [i for i in members if i in wanted]
            if here:
                self.paint(members, here, lanes)
        if self.failed:
            raise PairsError(self.failed, self.found)
        return [self.found[i] for i in self.only]

    def paint(self, members: list[int], here: list[int], lanes: int) -> None:
        """Paint some pairs of a batch, in the lanes that they have among all its members."""
        filler = self.runs[here[0]]
        runs = [self.runs[i] if i in here else filler for i in members]
        runs += [filler] * (lanes - len(runs))
        scales = len(filler.schedule.scales)
        result_of = optimize_side_by_side(
            runs, mesh_of(lanes, self.devices), partial(self.report, tuple(here), scales)
        )
        for i in here:
            try:
                self.found[i] = result_of(members.index(i))
            except ValueError as error:
                self.failed[i] = error

    def report(self, pairs: tuple[int, ...], scales: int, scale: int, steps: int) -> None:
        """Call the callback."""
        self.done += steps * len(pairs)
        if self.callback is not None:
            seconds = time.perf_counter() - self.begin
            self.callback(BatchProgress(pairs, scale, scales, self.done, self.total, seconds))


def _program(index: int, run: Run) -> Hashable:
    """Say what decides a pair's programs: pairs that agree in it run side by side."""
    inner = tuple((scale.inner, scale.evaluations) for scale in run.schedule.scales)
    # Line searches differ in their evaluations.
    alone = index if run.method.line_search != "fixed" else -1
    of_host = run.method.round, run.method.carry
    return run.objective, run.method, of_host, inner, run.tuning, run.guidance.structure, alone
