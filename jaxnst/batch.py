"""Many pictures in one program: pairs of one shape and method run side by side, by ``vmap``.

Each pair has its own targets, numbers and noise; the loss network's parameters are shared. One step
of the batch is one pass of the network over a batch of images, also for L-BFGS, whose guards decide
by selection. Pairs of different shapes go to programs of their own, one after the other.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxnst.config import Precision, Recipe
from jaxnst.image import resize
from jaxnst.networks.registry import LossNetwork, load_network
from jaxnst.objective import TERMS, Targets
from jaxnst.optimize import State, advance, picture, restart, start
from jaxnst.recipes import get_recipe, recipe_on
from jaxnst.result import Picture, Progress, ScaleTiming, StylizeResult
from jaxnst.run import CHUNK_SECONDS, Run, written
from jaxnst.schedule import Scale
from jaxnst.space import decode, encode
from jaxnst.transfer import check_picture, style_pictures


class BatchProgress(NamedTuple):
    """What a callback is told between chunks.

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


def stylize_batch(
    contents: Sequence[ArrayLike],
    styles: Sequence[ArrayLike | Sequence[ArrayLike]],
    *,
    network: str | LossNetwork | None = None,
    recipe: str | Recipe | Sequence[str | Recipe] = "default",
    size: int | None = None,
    style_size: int | None = None,
    seed: int | Sequence[int] = 0,
    at_once: int | None = None,
    callback: Callable[[BatchProgress], None] | None = None,
    precision: Precision | None = None,
) -> list[StylizeResult]:
    """Paint many content images, each in the manner of its own style images.

    Args:
      contents: ``(H, W, 3)`` RGB in [0, 1], of any sizes.
      styles: For each content one such image, or several.
      network: A loss network or its name, for all; None: that of the (first) recipe.
      recipe: A recipe or its name, or one for each pair. Recipes that differ in numbers only share
        one program.
      size: As for :func:`jaxnst.stylize`.
      style_size: As there.
      seed: As there, or one for each pair.
      at_once: Most pairs that run side by side, for the memory that they take; None: as many as
        have one shape.
      callback: Called about once a second. It may raise to stop.
      precision: As for :func:`jaxnst.stylize`.

    Returns:
      Results in the order of the contents. All seconds are those of the pair's whole batch, and
      evaluations those of the pair.

    Raises:
      ValueError: As :func:`jaxnst.stylize`, with the number of the pair; or if numbers of contents,
        styles, recipes and seeds differ.
      KeyError: As there.
    """
    count = len(contents)
    recipes = _each("recipes", recipe, count, (str, Recipe))
    seeds = _each("seeds", seed, count, (int, np.integer))
    _each("styles", list(styles), count, ())
    if at_once is not None and at_once < 1:
        raise ValueError(f"at_once is {at_once}, expected at least 1 pair")
    if not count:
        return []
    made = [get_recipe(r) if isinstance(r, str) else r for r in recipes]
    network = made[0].network if network is None else network
    network = load_network(network) if isinstance(network, str) else network
    network = network.configure(precision=precision)
    runs = []
    for i, (content, style) in enumerate(zip(contents, styles, strict=True)):
        name = f"pair {i}: "
        runs.append(
            Run(
                check_picture(f"{name}content", content),
                [check_picture(name + of, s) for of, s in style_pictures(style)],
                network,
                recipe_on(made[i], network.name),
                size=size,
                style_size=style_size,
                seed=int(seeds[i]),
            )
        )
    return _Batches(runs, at_once, callback).results()


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
        at_once: int | None,
        callback: Callable[[BatchProgress], None] | None,
    ):
        self.runs, self.callback = runs, callback
        self.total = sum(run.total for run in runs)
        self.done = 0
        self.begin = time.perf_counter()
        self.found: dict[int, StylizeResult] = {}
        groups: dict[Any, list[int]] = {}
        for i, run in enumerate(runs):
            groups.setdefault(_program(i, run), []).append(i)
        self.batches = [
            members[k : k + (at_once or len(members))]
            for members in groups.values()
            for k in range(0, len(members), at_once or len(members))
        ]

    def results(self) -> list[StylizeResult]:
        """Run one batch after the other."""
        for members in self.batches:
            batch = _Batch([self.runs[i] for i in members])
            told = partial(self.tell, tuple(members), batch)
            for i, result in zip(members, batch.through_all_scales(told), strict=True):
                self.found[i] = result
                # Rescaled parameters are as large as the network: not to be kept for every pair.
                self.runs[i].params = self.runs[i].objective.network.params
        return [self.found[i] for i in range(len(self.runs))]

    def tell(self, members: tuple[int, ...], batch: "_Batch", scale: int, steps: int) -> None:
        """Tell the callback."""
        self.done += steps * len(members)
        if self.callback is not None:
            seconds = time.perf_counter() - self.begin
            scales = len(batch.scales)
            self.callback(BatchProgress(members, scale, scales, self.done, self.total, seconds))


def _program(index: int, run: Run) -> Any:
    """Say what decides a pair's programs: pairs that agree in it run side by side."""
    inner = tuple((scale.inner, scale.evaluations) for scale in run.schedule.scales)
    # Parameters that are rescaled over the pictures are those pictures' own, and line searches
    # differ in their evaluations.
    pictures = (run.content, *run.styles) if run.recipe.unit_means else ()
    alone = index if run.method.line_search != "fixed" else -1
    own = tuple(map(id, pictures))
    return run.objective, run.method, inner, run.recipe.approximation, own, alone


class _Batch:
    """Pairs that run side by side: what :class:`jaxnst.run.Run` is for one."""

    def __init__(self, runs: list[Run]):
        self.runs, self.first = runs, runs[0]
        self.scales = self.first.schedule.scales
        self.numbers = _stack([run.numbers for run in runs])
        self.rates = _stack([run.rates for run in runs])
        self.follow = jax.vmap(
            partial(advance, self.first.objective, self.first.method),
            in_axes=((None, 0, 0), 0, 0, None, None),
        )
        self.records: list[list[Picture]] = [[] for _ in runs]
        self.timings: list[ScaleTiming] = []
        self.restarts = np.zeros(len(runs), int)

    def through_all_scales(self, told: Callable[[int, int], None]) -> list[StylizeResult]:
        """Run, telling after every chunk the scale and how many steps it took."""
        if len(self.runs) == 1:
            return [self._alone(told)]
        params = self.first.tuned_parameters()
        for run in self.runs:
            run.params = params
        images = np.stack([run.start_image() for run in self.runs])
        # One worker: while a scale runs, the next one's targets and programs are prepared.
        pool = ThreadPoolExecutor(1, "jaxnst-compile")
        try:
            prepared = [pool.submit(self._prepare, i) for i in range(len(self.scales))]
            for index, scale in enumerate(self.scales):
                images = self._one_scale(scale, prepared[index], images, partial(told, index))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return [self._result(i, image) for i, image in enumerate(images)]

    def _alone(self, told: Callable[[int, int], None]) -> StylizeResult:
        before = 0

        def tell(progress: Progress) -> None:
            nonlocal before
            if progress.phase == "compile":
                return
            told(progress.scale, progress.total_done - before)
            before = progress.total_done

        self.first.callback = tell
        return self.first.through_all_scales(None)

    def _prepare(self, index: int) -> Targets:
        """Compute a scale's targets and compile its loop, by taking no step with it."""
        # Of each pair's own scale: its styles have sizes of their own.
        several = [run.targets(run.schedule.scales[index]) for run in self.runs]
        targets: Targets = _stack(several)
        blank = jnp.zeros((len(self.runs), *self.scales[index].inner, 3), jnp.float32)
        state = self._start(blank)
        zero = jnp.asarray(0)
        self.follow((self.first.params, targets, self.numbers), self.rates, state, zero, zero)
        return targets

    def _start(self, variables: jax.Array) -> State:
        return jax.vmap(partial(start, self.first.method, terms=len(TERMS)))(variables)

    def _one_scale(
        self,
        scale: Scale,
        prepared: "Future[Targets]",
        images: Picture,
        told: Callable[[int], None],
    ) -> Picture:
        waiting = time.perf_counter()
        targets, run = prepared.result(), self.first
        sized = np.stack([resize(image, scale.inner) for image in images])
        states = self._start(encode(jnp.asarray(sized), run.objective.space))
        running = time.perf_counter()
        args = (self.first.params, targets, self.numbers)
        used, steps, total = 0, 1, jnp.asarray(scale.evaluations)
        while used < scale.evaluations:
            tick = time.perf_counter()
            steps = min(steps, scale.evaluations - used, run.until_stop(used))
            states, record = self.follow(args, self.rates, states, jnp.asarray(steps), total)
            for kept, rows in zip(self.records, np.asarray(record), strict=True):
                kept.append(written(rows))
            used += steps
            told(steps)
            if run.method.round and used % run.method.round == 0:
                states = jax.vmap(partial(restart, run.method))(self.rates, states)
            steps = max(1, int(CHUNK_SECONDS * steps / (time.perf_counter() - tick)))
        ran = time.perf_counter() - running
        self.timings.append(ScaleTiming(scale.inner, running - waiting, ran, used))
        self.restarts += np.asarray(states.restarts)
        return self._shown(states)

    def _shown(self, states: State) -> Picture:
        variables = jax.vmap(partial(picture, self.first.method))(states)
        return np.asarray(decode(variables, self.first.objective.space))

    def _result(self, index: int, image: Picture) -> StylizeResult:
        losses = np.concatenate(self.records[index])
        return StylizeResult(
            image=self.runs[index].finish(image),
            losses={name: losses[:, i] for i, name in enumerate(TERMS)},
            evaluations=self.first.total,
            restarts=int(self.restarts[index]),
            compile_seconds=sum(timing.compile_seconds for timing in self.timings),
            run_seconds=sum(timing.run_seconds for timing in self.timings),
            timings=tuple(self.timings),
        )


def _stack(several: list[Any]) -> Any:
    """Stack pytrees of one structure along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *several)
