"""The host's loop over a run's scales, in chunks, between which it can be watched and stopped.

The image is made coarse to fine. Each scale has its own targets and one compiled loop; both are
prepared in the background, side by side, while the scale before runs.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxnst.losses.objective import TERMS, Targets
from jaxnst.optim.solvers import State, restart
from jaxnst.transfer.checkpoint import AGAIN, Checkpoint
from jaxnst.transfer.fingerprint import refuse_others, surroundings, warn_of_others
from jaxnst.transfer.result import Picture, Progress, ScaleTiming, StylizeResult
from jaxnst.transfer.run import Run

CHUNK_SECONDS = 1.0


def go_through(
    run: Run,
    *,
    started: Picture | None = None,
    callback: Callable[[Progress], None] | None = None,
    every: int | None = None,
    resume: Checkpoint | None = None,
) -> StylizeResult:
    """Go through all scales of a run, and make its picture.

    Args:
      run: The run.
      started: A picture to start from; None: the recipe's start.
      callback: As :func:`jaxnst.stylize`.
      every: As there.
      resume: As there.

    Raises:
      ValueError: If the checkpoint to resume from is of another run, or no loss was finite.
    """
    place = _Place(run, started) if resume is None else _Place.of(run, started, resume)
    run.params = run.tuned_parameters()
    return _Loop(place, callback, every).through_all_scales()


class _Place:
    """Where a run stands. It changes only while ``moving`` is held, so that others may read it.

    Attributes:
      index: The present scale.
      state: Its state.
      counts: Evaluations of each scale that has begun.
      seconds: Spent waiting for programs and optimising, of each scale that has begun.
      restarts: Of earlier scales.
      records: Terms of the loss at every step, in pieces.
    """

    def __init__(self, run: Run, started: Picture | None, *, state: State | None = None) -> None:
        self.run, self.started, self.moving = run, started, threading.Lock()
        self.index = self.restarts = 0
        self.counts, self.seconds = [0], [(0.0, 0.0)]
        self.records: list[NDArray[np.float32]] = []
        if state is None:
            whole = run.start_image() if started is None else started
            state = run.at_scale(run.schedule.scales[0], whole)
        self.state = state

    @classmethod
    def of(cls, run: Run, started: Picture | None, there: Checkpoint) -> "_Place":
        """Return to where an equal run has been.

        Raises:
          ValueError: If the checkpoint is none of such a run.
        """
        refuse_others(there.settings, run.settings(started))
        if there.scale >= len(run.schedule.scales) or there.losses.shape[1] != len(TERMS):
            raise ValueError("the checkpoint is of no run of this jaxnst: begin anew with another")
        like = run.state_shapes(run.schedule.scales[there.scale])
        state = jax.tree.map(jnp.array, from_arrays(there.state, like))
        if int(state.evaluations) != there.evaluations[-1]:
            raise ValueError("the checkpoint contradicts itself: begin anew with another")
        place = cls(run, started, state=state)
        warn_of_others(there.surroundings, place.surroundings)
        place.index, place.restarts = there.scale, there.restarts
        place.counts, place.seconds = list(there.evaluations), list(there.seconds)
        place.records = [there.losses]
        return place

    def checkpoint(self) -> Checkpoint:
        """Make a checkpoint.

        Raises:
          ValueError: If the run has failed and no longer has a state to go on from.
        """
        with self.moving:
            if self.given_up:
                raise ValueError(
                    "the run failed in the middle of a step, from which nothing can go on: an "
                    "earlier checkpoint is unchanged"
                )
            return Checkpoint(
                scale=self.index,
                evaluations=tuple(self.counts),
                seconds=tuple(self.seconds),
                restarts=self.restarts,
                losses=self.losses,
                state=to_arrays(self.state),
                settings=self.settings,
                surroundings=self.surroundings,
            )

    @property
    def given_up(self) -> bool:
        """Whether the state's memory was given up for a step that then failed."""
        leaves = jax.tree.leaves(self.state)
        return self.state.solver is None or any(leaf.is_deleted() for leaf in leaves)

    @property
    def losses(self) -> NDArray[np.float32]:
        """Terms of the loss at every step."""
        return np.concatenate([np.zeros((0, len(TERMS)), np.float32), *self.records])

    @cached_property
    def settings(self) -> dict[str, str]:
        """All that decides the picture, in words."""
        return self.run.settings(self.started)

    @cached_property
    def surroundings(self) -> dict[str, str]:
        """All that decides the picture's last bits, in words."""
        return surroundings() | {"remat": str(self.run.objective.remat)}

    def next_scale(self) -> None:
        """Begin the next scale, with the picture of the present one."""
        run, before = self.run, self.state
        image = run.shown(before)
        with self.moving:
            if not run.method.carry:  # the memory of its solver is needed
                before = self.state = before._replace(solver=None)
            scale = run.schedule.scales[self.index + 1]
            self.state = run.at_scale(scale, image, before=before)
            self.restarts += int(before.restarts)
            self.index += 1
            self.counts.append(0)
            self.seconds.append((0.0, 0.0))


class _Loop:
    """Takes a run from where it stands to its end."""

    def __init__(
        self, place: _Place, callback: Callable[[Progress], None] | None, every: int | None
    ) -> None:
        self.run, self.place, self.callback, self.every = place.run, place, callback, every

    def through_all_scales(self) -> StylizeResult:
        """Run."""
        run, place, scales = self.run, self.place, self.run.schedule.scales
        # Two workers: at the start they share the first scale's programs, later they compile the
        # next scale's while one runs. A run that is stopped does not wait for them.
        pool = ThreadPoolExecutor(2, "jaxnst-compile")
        try:
            prepared = {
                index: (pool.submit(run.compile_loop, scale), pool.submit(run.targets, scale))
                for index, scale in enumerate(scales)
                if index > place.index
                or (index == place.index and place.counts[index] < scale.evaluations)
            }
            for index in range(place.index, len(scales)):
                if index > place.index:
                    place.next_scale()
                if index in prepared:
                    self.one_scale(*prepared[index])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return self.result()

    def one_scale(self, compiled: "Future[None]", computed: "Future[Targets]") -> None:
        """Go through what is left of the present scale."""
        run, place = self.run, self.place
        scale, used = run.schedule.scales[place.index], place.counts[-1]
        waited, ran = place.seconds[-1]
        self.report("compile", {})
        tick = time.perf_counter()
        compiled.result()
        targets = computed.result()
        begin = time.perf_counter()
        waited, steps = waited + begin - tick, 1
        while used < scale.evaluations:
            tick = time.perf_counter()
            steps = min(steps, scale.evaluations - used, self.until_stop(used))
            with place.moving:
                state, record = run.advance(targets, place.state, steps, scale.evaluations)
                used, before = int(state.evaluations), used
                terms = dict(zip(TERMS, np.asarray(state.terms).tolist(), strict=True))
                if run.method.round and used % run.method.round == 0:
                    state = restart(run.method, run.rates, state)
                place.state, place.counts[-1] = state, used
                place.records.append(written(record))
                place.seconds[-1] = waited, ran + time.perf_counter() - begin
            if place.index == len(run.schedule.scales) - 1 and not np.isfinite(terms["total"]):
                run.check_losses(place.losses[:, 0])  # else it would fail to the end
            self.report("optimize", terms)
            per_step = (time.perf_counter() - tick) / max(1, used - before)
            steps = max(1, int(CHUNK_SECONDS / per_step))
        place.seconds[-1] = waited, ran + time.perf_counter() - begin

    def until_stop(self, used: int) -> int:
        """Count the evaluations until a round ends or the callback wants to be called."""
        chunk = self.run.until_stop(used)
        return min(chunk, self.every - sum(self.place.counts) % self.every) if self.every else chunk

    def result(self) -> StylizeResult:
        """Assemble the result."""
        run, place, losses = self.run, self.place, self.place.losses
        run.check_losses(losses[:, 0])
        timings = tuple(
            ScaleTiming(scale.inner, *seconds, count)
            for scale, seconds, count in zip(
                run.schedule.scales, place.seconds, place.counts, strict=True
            )
        )
        return StylizeResult(
            image=run.finish(run.shown(place.state)),
            losses={name: losses[:, i] for i, name in enumerate(TERMS)},
            evaluations=sum(place.counts),
            restarts=place.restarts + int(place.state.restarts),
            compile_seconds=sum(timing.compile_seconds for timing in timings),
            run_seconds=sum(timing.run_seconds for timing in timings),
            timings=timings,
        )

    def report(self, phase: Literal["compile", "optimize"], losses: dict[str, float]) -> None:
        """Tell the callback how far it is."""
        if self.callback is None:
            return
        run, place = self.run, self.place
        scale, used, state = run.schedule.scales[place.index], place.counts[-1], place.state
        self.callback(
            Progress(
                phase=phase,
                scale=place.index,
                scales=len(run.schedule.scales),
                size=scale.inner,
                evaluations=used,
                scale_evaluations=scale.evaluations,
                total_done=sum(place.counts),
                total=run.total,
                losses=losses,
                image=lambda: run.finish(run.shown(state)),
                seconds=sum(map(sum, place.seconds)),
                rounds=used // run.method.round if run.method.round else 0,
                checkpoint=place.checkpoint,
            )
        )


def written(record: ArrayLike) -> NDArray[np.float32]:
    """Return the rows that a chunk has written; the others are NaN, as no accepted loss is."""
    rows = np.asarray(record)
    return rows[~np.isnan(rows[:, 0])]


def to_arrays(state: Any) -> dict[str, NDArray[Any]]:
    """Copy a pytree of arrays to the host, by the names of its parts."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    # Copies: the memory of an optimiser's state is used again by its next step.
    return {_name(path): np.array(leaf) for path, leaf in leaves}


def from_arrays(arrays: Mapping[str, NDArray[Any]], like: Any) -> Any:
    """Undo :func:`to_arrays`.

    Args:
      arrays: By name.
      like: A pytree of arrays, or of shapes and types, that they must match.

    Raises:
      ValueError: If one is missing, unknown or of another shape or type.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {_name(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}
    found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            raise ValueError(
                f"the checkpoint has {_said(found.get(name))} as {name}, expected "
                f"{_said(wanted.get(name))}: {AGAIN}"
            )
    return jax.tree_util.tree_unflatten(structure, [arrays[name] for name in wanted])


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path).lstrip(".")


def _said(kind: Any) -> str:
    return "nothing" if kind is None else f"{kind[1]} {kind[0]}"
