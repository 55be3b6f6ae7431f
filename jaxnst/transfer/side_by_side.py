"""Runs of one program side by side, one lane each."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxnst._numerics import own_numerics
from jaxnst._types import Image
from jaxnst.image import resample
from jaxnst.losses.objective import TERMS, Objective, Targets, content_targets
from jaxnst.networks.color_space import decode, encode
from jaxnst.networks.registry import Params
from jaxnst.optim.sharding import apart, over_lanes, shared
from jaxnst.optim.solvers import Method, Rates, State, advance, picture, restart, start, start_after
from jaxnst.transfer.loop import CHUNK_SECONDS, written
from jaxnst.transfer.pyramid import Scale
from jaxnst.transfer.result import Picture, ScaleTiming, StylizeResult
from jaxnst.transfer.run import Run


class SideBySide:
    """Runs that go side by side.

    Args:
      runs: One for each lane; a run that is listed twice is computed twice.
      mesh: Of the lanes.
    """

    def __init__(self, runs: list[Run], mesh: Mesh):
        self.runs, self.first, self.mesh = runs, runs[0], mesh
        self.scales = self.first.schedule.scales
        self.static = self.first.objective, self.first.method
        self.numbers = apart(mesh, [run.numbers for run in runs])
        self.rates = apart(mesh, [run.rates for run in runs])
        self.params: Params = {}
        self.before: State | None = None  # of the last scale, if anything of it is carried over
        self.records: list[list[Picture]] = [[] for _ in runs]
        self.timings: list[ScaleTiming] = []
        self.evaluations = np.zeros(len(runs), int)
        self.restarts = np.zeros(len(runs), int)

    def through_all_scales(self, told: Callable[[int, int], None]) -> Picture:
        """Run, reporting scale and number of steps after every chunk; return the pictures."""
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

    @own_numerics()
    def _prepare(self, index: int) -> Targets:
        """Compute a scale's targets and compile its programs, by running them for 0 steps."""
        # Of each pair's own scale: its styles have sizes of their own.
        pairs = [(run, run.schedule.scales[index]) for run in self.runs]
        pictures = apart(self.mesh, [resample(run.content, scale.inner) for run, scale in pairs])
        content = self._each(content_targets, self.static[:1], self.params, pictures)
        styles = apart(self.mesh, [run.style_targets(scale) for run, scale in pairs])
        where = apart(self.mesh, [run.where(scale) for run, scale in pairs])
        targets = Targets(content, styles, where)
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
        sized = apart(self.mesh, [resample(image, scale.inner) for image in images])
        begin, own = (
            (_begin, sized) if self.before is None else (_begin_after, (sized, self.before))
        )
        states = self._each(begin, self.static, None, own)
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
        self.before = states if method.carry else None
        return np.asarray(self._each(_picture, self.static, None, states))

    def result(self, lane: int, image: Picture) -> StylizeResult:
        """Assemble the result of a lane, from the picture of its last scale.

        Raises:
          ValueError: None of its losses was finite.
        """
        losses = np.concatenate(self.records[lane])
        self.runs[lane].check_losses(losses[:, 0])
        return StylizeResult(
            image=self.runs[lane].finish(image),
            losses={name: losses[:, i] for i, name in enumerate(TERMS)},
            evaluations=int(self.evaluations[lane]),
            restarts=int(self.restarts[lane]),
            compile_seconds=sum(timing.compile_seconds for timing in self.timings),
            run_seconds=sum(timing.run_seconds for timing in self.timings),
            timings=tuple(self.timings),
        )


# What happens in a lane, in the form of :func:`jaxnst.optim.sharding.over_lanes`.


def _begin(objective: Objective, method: Method, _: None, image: Image) -> State:
    return start(method, encode(image, objective.space), len(TERMS))


def _begin_after(objective: Objective, method: Method, _: None, own: tuple[Image, State]) -> State:
    image, before = own
    return start_after(method, encode(image, objective.space), before)


def _follow(objective: Objective, method: Method, whole: Any, own: Any) -> tuple[State, jax.Array]:
    params, steps, total = whole
    targets, numbers, rates, state = own
    return advance(objective, method, (params, targets, numbers), rates, state, steps, total)


def _restart(_: Objective, method: Method, __: None, own: tuple[Rates, State]) -> State:
    return restart(method, *own)


def _picture(objective: Objective, method: Method, _: None, state: State) -> Image:
    return decode(picture(method, state), objective.space)
