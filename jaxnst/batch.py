"""Many pictures in one program: pairs of one shape and method run side by side, by ``vmap``.

Each pair has its own targets, numbers and noise; the loss network's parameters are shared. One step
of the batch is one pass of the network over a batch of images, also for L-BFGS, whose guards decide
by selection. Pairs of different shapes go to programs of their own, one after the other. All
batches of one program have one size: lanes that are left over repeat a pair, and are not told of.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from numpy.typing import ArrayLike

from jaxnst._types import Image
from jaxnst.config import Precision, Recipe
from jaxnst.image import resize
from jaxnst.lanes import apart, default_device, lanes_of, mesh_of, over_lanes, shared
from jaxnst.networks.registry import LossNetwork, Params, load_network
from jaxnst.objective import TERMS, Objective, Targets, content_targets
from jaxnst.optimize import Method, Rates, State, advance, picture, restart, start
from jaxnst.recipes import get_recipe, recipe_on
from jaxnst.result import Picture, ScaleTiming, StylizeResult
from jaxnst.run import CHUNK_SECONDS, Run, written
from jaxnst.schedule import Scale
from jaxnst.space import decode, encode
from jaxnst.targets import StyleImage, StyleStore
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
    devices: Sequence[jax.Device] | None = None,
    only: Sequence[int] | None = None,
    store: StyleStore | None = None,
    callback: Callable[[BatchProgress], None] | None = None,
    precision: Precision | None = None,
    remat: bool = False,
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
      devices: Of one kind, between which the pairs of a batch are divided; None: JAX's default one.
      only: Numbers of the pairs that are painted, in the programs and lanes that they have among
        all, so that the rest of a batch that was cut short comes out as it would have. The others
        count by their shape alone. None: all.
      store: Of moments of styles, to share between calls.
      callback: Called about once a second. It may raise to stop.
      precision: As for :func:`jaxnst.stylize`.
      remat: As for :func:`jaxnst.stylize`.

    Returns:
      Results in the order of the contents, or of ``only``. All seconds are those of the pair's
      whole batch, and evaluations those of the pair.

    Raises:
      ValueError: As :func:`jaxnst.stylize`, with the number of the pair; or if numbers of contents,
        styles, recipes and seeds differ, or there is no such pair, or no device.
      KeyError: As there.
    """
    count = len(contents)
    recipes = _each("recipes", recipe, count, (str, Recipe))
    seeds = _each("seeds", seed, count, (int, np.integer))
    _each("styles", list(styles), count, ())
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
    checked, store = _Checked(), StyleStore() if store is None else store
    runs = []
    for i, (content, style) in enumerate(zip(contents, styles, strict=True)):
        runs.append(
            Run(
                checked(f"pair {i}: content", content).image,
                [checked(f"pair {i}: {of}", s) for of, s in style_pictures(style)],
                network,
                recipe_on(made[i], network.name),
                size=size,
                style_size=style_size,
                seed=int(seeds[i]),
                store=store,
                remat=remat,
            )
        )
    devices = [default_device()] if devices is None else devices
    return _Batches(runs, numbers, devices, at_once, callback).results()


class _Checked:
    """Pictures of a call: each is looked at once, in however many pairs it is."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[ArrayLike, StyleImage]] = {}

    def __call__(self, name: str, given: ArrayLike) -> StyleImage:
        if id(given) not in self.known:
            self.known[id(given)] = given, StyleImage(check_picture(name, given))
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
        """Run one batch after the other."""
        wanted = set(self.only)
        for members, lanes in zip(self.batches, self.lanes, strict=True):
            here = [i for i in members if i in wanted]
            if here:
                self.paint(members, here, lanes)
        return [self.found[i] for i in self.only]

    def paint(self, members: list[int], here: list[int], lanes: int) -> None:
        """Run a batch of some pairs, in the lanes that they have among its members."""
        filler = self.runs[here[0]]
        runs = [self.runs[i] if i in here else filler for i in members]
        batch = _Batch(runs + [filler] * (lanes - len(runs)), mesh_of(lanes, self.devices))
        images = batch.through_all_scales(partial(self.tell, tuple(here), len(batch.scales)))
        for i in here:
            lane = members.index(i)
            self.found[i] = batch.result(lane, images[lane])
            # Rescaled parameters are as large as the network: not to be kept for every pair.
            self.runs[i].params = self.runs[i].objective.network.params

    def tell(self, pairs: tuple[int, ...], scales: int, scale: int, steps: int) -> None:
        """Tell the callback."""
        self.done += steps * len(pairs)
        if self.callback is not None:
            seconds = time.perf_counter() - self.begin
            self.callback(BatchProgress(pairs, scale, scales, self.done, self.total, seconds))


def _program(index: int, run: Run) -> Hashable:
    """Say what decides a pair's programs: pairs that agree in it run side by side."""
    inner = tuple((scale.inner, scale.evaluations) for scale in run.schedule.scales)
    # Line searches differ in their evaluations.
    alone = index if run.method.line_search != "fixed" else -1
    return run.objective, run.method, inner, run.tuning, alone


class _Batch:
    """Pairs that run side by side: what :class:`jaxnst.run.Run` is for one.

    Args:
      runs: One for each lane; a run that stands there twice is computed twice.
      mesh: Of the lanes.
    """

    def __init__(self, runs: list[Run], mesh: Mesh):
        self.runs, self.first, self.mesh = runs, runs[0], mesh
        self.scales = self.first.schedule.scales
        self.static = self.first.objective, self.first.method
        self.numbers = apart(mesh, [run.numbers for run in runs])
        self.rates = apart(mesh, [run.rates for run in runs])
        self.params: Params = {}
        self.records: list[list[Picture]] = [[] for _ in runs]
        self.timings: list[ScaleTiming] = []
        self.evaluations = np.zeros(len(runs), int)
        self.restarts = np.zeros(len(runs), int)

    def through_all_scales(self, told: Callable[[int, int], None]) -> Picture:
        """Run, telling after every chunk the scale and how many steps it took; return pictures."""
        params = self.first.tuned_parameters()
        self.params = shared(self.mesh, params)
        for run in self.runs:
            run.params = jax.device_put(params, self.mesh.devices[0])
        images = np.stack([run.start_image() for run in self.runs])
        # One worker: while a scale runs, the next one's targets and programs are prepared.
        pool = ThreadPoolExecutor(1, "jaxnst-compile")
        try:
            prepared = [pool.submit(self._prepare, i) for i in range(len(self.scales))]
            for index, scale in enumerate(self.scales):
                images = self._one_scale(scale, prepared[index], images, partial(told, index))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return images

    def _prepare(self, index: int) -> Targets:
        """Compute a scale's targets and compile its programs, by taking no step with them."""
        # Of each pair's own scale: its styles have sizes of their own.
        pairs = [(run, run.schedule.scales[index]) for run in self.runs]
        pictures = apart(self.mesh, [run.with_margin(run.content, scale) for run, scale in pairs])
        content = self._each(content_targets, self.static[:1], self.params, pictures)
        styles = apart(self.mesh, [run.style_targets(scale) for run, scale in pairs])
        targets = Targets(content, styles)
        state = self._each(_begin, self.static, None, pictures)
        state, _ = self._advance(targets, state, 0, 0)
        self._each(_picture, self.static, None, state)
        return targets

    def _each(self, function: Callable[..., Any], static: Any, whole: Any, own: Any) -> Any:
        return over_lanes(function, static, self.mesh, whole, own)

    def _advance(self, targets: Targets, states: State, steps: int, total: int) -> Any:
        whole = self.params, jnp.asarray(steps), jnp.asarray(total)
        return self._each(_follow, self.static, whole, (targets, self.numbers, self.rates, states))

    def _one_scale(
        self,
        scale: Scale,
        prepared: "Future[Targets]",
        images: Picture,
        told: Callable[[int], None],
    ) -> Picture:
        waiting = time.perf_counter()
        targets, method = prepared.result(), self.first.method
        sized = apart(self.mesh, [resize(image, scale.inner) for image in images])
        states = self._each(_begin, self.static, None, sized)
        running = time.perf_counter()
        used, steps = 0, 1
        while used < scale.evaluations:
            tick = time.perf_counter()
            steps = min(steps, scale.evaluations - used, self.first.until_stop(used))
            states, record = self._advance(targets, states, steps, scale.evaluations)
            for kept, rows in zip(self.records, np.asarray(record), strict=True):
                kept.append(written(rows))
            used, before = int(np.max(states.evaluations)), used
            told(used - before)
            if method.round and used % method.round == 0:
                states = self._each(_restart, self.static, None, (self.rates, states))
            per_step = (time.perf_counter() - tick) / max(1, used - before)
            steps = max(1, int(CHUNK_SECONDS / per_step))
        ran = time.perf_counter() - running
        self.timings.append(ScaleTiming(scale.inner, running - waiting, ran, used))
        self.evaluations += np.asarray(states.evaluations)
        self.restarts += np.asarray(states.restarts)
        return np.asarray(self._each(_picture, self.static, None, states))

    def result(self, lane: int, image: Picture) -> StylizeResult:
        """Assemble what comes of a lane, from the picture of its last scale."""
        losses = np.concatenate(self.records[lane])
        return StylizeResult(
            image=self.runs[lane].finish(image),
            losses={name: losses[:, i] for i, name in enumerate(TERMS)},
            evaluations=int(self.evaluations[lane]),
            restarts=int(self.restarts[lane]),
            compile_seconds=sum(timing.compile_seconds for timing in self.timings),
            run_seconds=sum(timing.run_seconds for timing in self.timings),
            timings=tuple(self.timings),
        )


# What happens in a lane, in the form of :func:`jaxnst.lanes.over_lanes`.


def _begin(objective: Objective, method: Method, _: None, image: Image) -> State:
    return start(method, encode(image, objective.space), len(TERMS))


def _follow(objective: Objective, method: Method, whole: Any, own: Any) -> tuple[State, jax.Array]:
    params, steps, total = whole
    targets, numbers, rates, state = own
    return advance(objective, method, (params, targets, numbers), rates, state, steps, total)


def _restart(_: Objective, method: Method, __: None, own: tuple[Rates, State]) -> State:
    return restart(method, *own)


def _picture(objective: Objective, method: Method, _: None, state: State) -> Image:
    return decode(picture(method, state), objective.space)
