"""The loop over the scales of a run, or of several runs side by side.

Images are optimized coarse to fine. Every scale has targets and one compiled loop; both are
prepared in the background while the scale before runs. The loop is called in chunks of about a
second, between which the run can be watched, saved and stopped: where chunks end changes nothing.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from types import EllipsisType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from numpy.typing import ArrayLike, NDArray

from jaxnst._numerics import default_numerics
from jaxnst._types import Image
from jaxnst.image import resample
from jaxnst.losses.objective import TERMS, AnyTargets, Objective, Targets, make_targets
from jaxnst.networks.color_space import decode, encode
from jaxnst.networks.registry import Params
from jaxnst.optim.sharding import apart, apart_shapes, mesh_of, over_lanes, shared
from jaxnst.optim.solvers import (
    CHUNK,
    Hyperparameters,
    SolverConfig,
    State,
    advance,
    advance_over,
    lower_over,
    picture,
    restart,
    shown_part,
    start,
    start_after,
    state_shapes,
)
from jaxnst.transfer.checkpoint import AGAIN, Checkpoint
from jaxnst.transfer.fingerprint import check_same_run, warn_of_other_environment
from jaxnst.transfer.result import Picture, Progress, ScaleTiming, StylizeResult
from jaxnst.transfer.run import Run
from jaxnst.transfer.style_cache import target_shapes

CHUNK_SECONDS = 1.0

Phase = Literal["compile", "optimize"]


class Programs:
    """The compiled programs of one run, or of several that differ in numbers and pictures only.

    With a mesh every run has a lane: states, records and images have one more axis in front.

    Args:
      runs: One for each lane; a run that is listed twice is computed twice.
      mesh: Of the lanes; None for a single run.
    """

    def __init__(self, runs: Sequence[Run], *, mesh: Mesh | None = None) -> None:
        first = runs[0]
        self.runs, self.mesh = runs, mesh
        self.method, self.scales = first.method, first.schedule.scales
        self.static = first.objective, first.method
        self.numbers = self._stack([run.numbers for run in runs])
        self.rates = self._stack([run.rates for run in runs])
        self.params = self.params_of_one = first.tuned_parameters()
        if mesh is not None:
            self.params = shared(mesh, self.params_of_one)
            self.params_of_one = jax.device_put(self.params_of_one, mesh.devices[0])

    def prepare(self, pool: Executor, index: int) -> Callable[[State], AnyTargets]:
        """Begin to compile a scale's programs and compute its targets.

        Call the result to wait, with a state of the scale: nearest neighbors are only found then.
        """
        compiled = pool.submit(self.compile_loop, index)
        matched = self.runs[0].objective.by_neighbors
        targets = None if matched else pool.submit(self.targets, index)

        def wait(state: State) -> AnyTargets:
            compiled.result()
            return self.neighbors(index, state) if targets is None else targets.result()

        return wait

    @default_numerics()
    def compile_loop(self, index: int) -> None:
        """Compile a scale's loop, and what begins it and shows its image, from shapes alone."""
        run, size = self.runs[0], self.scales[index].inner
        image = jax.ShapeDtypeStruct((*size, 3), jnp.float32)  # type: ignore[no-untyped-call]
        where = run.guidance.where(run.objective, np.zeros(image.shape, np.float32))
        again, before = self.scales[index].again, None
        targets = target_shapes(run.objective, self.params_of_one, size, where=where, again=again)
        if self.method.carry and index > 0:
            before = state_shapes(self.method, self.scales[index - 1].inner, len(TERMS))
        state, count = state_shapes(self.method, size, len(TERMS)), jnp.asarray(0)
        if self.mesh is None:
            args = self.params, targets, self.numbers
            args, rates, state, before = self._placed((args, self.rates, state, before))
            lower_over(*self.static, args, rates, state, count, count).compile()
        else:
            shapes = image, before, targets, state
            image, before, targets, state = apart_shapes(self.mesh, shapes, len(self.runs))
            lanes = targets, self.numbers, self.rates, state
            self._lower(_advance, (self.params, count, count), lanes).compile()
        self._lower(_begin, None, (image, before)).compile()
        self._lower(_image, None, shown_part(self.method, state)).compile()

    @default_numerics()
    def targets(self, index: int) -> Targets:
        """Compute a scale's targets."""
        if self.mesh is None:
            return self.runs[0].targets(self.params, self.scales[index])
        # Of each run's own scale: its styles have sizes of their own.
        pairs = [(run, run.schedule.scales[index]) for run in self.runs]
        contents = [resample(run.content, scale.inner) for run, scale in pairs]
        styles = [run.style_targets(self.params_of_one, scale) for run, scale in pairs]
        where = [run.where(image) for run, image in zip(self.runs, contents, strict=True)]
        lanes = self._stack(contents), self._stack(styles), self.numbers, self._stack(where)
        targets: Targets = self._each(_targets, self.params, lanes)
        return targets

    @default_numerics()
    def neighbors(self, index: int, state: State) -> AnyTargets:
        """Find the nearest neighbors of a scale that begins, or began, with ``state.origin``."""
        origins = np.asarray(self._each(_origin, None, state))
        several = [origins] if self.mesh is None else origins
        pairs = zip(self.runs, several, strict=True)
        targets: AnyTargets = self._stack(
            [run.neighbors(self.params_of_one, index, origin) for run, origin in pairs]
        )
        return targets

    def begin(self, index: int, images: Picture, before: State | None) -> State:
        """Return the state in which a scale begins.

        Args:
          index: Of the scale.
          images: RGB, of any size.
          before: The last state of the scale before; used if the method carries anything over.
        """
        size = self.scales[index].inner
        several = [images] if self.mesh is None else images
        sized = self._stack([resample(image, size) for image in several])
        carried = before if self.method.carry else None
        state: State = self._each(_begin, None, (sized, carried))
        return state

    def advance(
        self, targets: AnyTargets, state: State, steps: int, total: int
    ) -> tuple[State, jax.Array]:
        """Take steps of a scale's loop; only the image of the old state can be read afterwards."""
        counts = jnp.asarray(steps), jnp.asarray(total)
        if self.mesh is None:
            args = self.params, targets, self.numbers
            args, rates, state = self._placed((args, self.rates, state))
            return advance_over(*self.static, args, rates, state, *counts)
        lanes = targets, self.numbers, self.rates, state
        result: tuple[State, jax.Array] = self._each(_advance, (self.params, *counts), lanes)
        return result

    def restart(self, state: State) -> State:
        """Begin a new round of the solver."""
        result: State = self._each(_restart, None, (self.rates, state))
        return result

    @default_numerics()
    def images(self, state: State) -> Picture:
        """Return the image of a state, RGB in no bounds, of its scale's inner size."""
        return np.asarray(self._each(_image, None, shown_part(self.method, state)))

    def _stack(self, values: Sequence[Any]) -> Any:
        """Place one pytree of arrays for each run."""
        return (
            jax.tree.map(jnp.asarray, values[0]) if self.mesh is None else apart(self.mesh, values)
        )

    def _placed(self, values: Any) -> Any:
        """Place arrays of a single run, or their shapes, on all devices that share its tiles."""
        devices = self.runs[0].objective.devices
        return shared(mesh_of(len(devices), devices), values) if devices else values

    def _each(self, function: Callable[..., Any], common: Any, lanes: Any) -> Any:
        return over_lanes(function, self.static, self.mesh, common, lanes)

    def _lower(self, function: Callable[..., Any], common: Any, lanes: Any) -> jax.stages.Lowered:
        return over_lanes.lower(function, self.static, self.mesh, common, lanes)


# What happens in a lane, in the form of :func:`jaxnst.optim.sharding.over_lanes`.


def _targets(objective: Objective, _: SolverConfig, params: Params, lane: Any) -> Targets:
    content, style, numbers, where = lane
    return make_targets(objective, params, content, style, numbers, where=where)


def _begin(
    objective: Objective, method: SolverConfig, _: None, lane: tuple[Image, State | None]
) -> State:
    image, before = lane
    variable = encode(image, objective.space)
    if before is None:
        return start(method, variable, len(TERMS))
    return start_after(method, variable, before)


def _advance(
    objective: Objective, method: SolverConfig, common: Any, lane: Any
) -> tuple[State, Any]:
    params, steps, total = common
    targets, numbers, rates, state = lane
    return advance(objective, method, (params, targets, numbers), rates, state, steps, total)


def _restart(
    _: Objective, method: SolverConfig, __: None, lane: tuple[Hyperparameters, State]
) -> State:
    return restart(method, *lane)


def _origin(objective: Objective, _: SolverConfig, __: None, state: State) -> Image:
    assert state.origin is not None
    return decode(state.origin, objective.space)


def _image(objective: Objective, method: SolverConfig, _: None, state: State) -> Image:
    return decode(picture(method, state), objective.space)


class RunState:
    """How far a run is. It changes only while ``moving`` is held, so that any thread may read it.

    Attributes:
      index: The present scale.
      state: The optimizer's state.
      counts: Evaluations of each scale that has begun.
      seconds: Spent waiting for programs, and optimizing, of each scale that has begun.
      restarts: Of earlier scales.
      terms: The last step's terms of the loss.
      records: Terms of the loss at every step, ``([lanes,] steps, terms)``, in pieces.
    """

    def __init__(self, state: State) -> None:
        self.state, self.moving = state, threading.Lock()
        self.terms = np.asarray(state.terms)
        self.index, self.restarts = 0, np.zeros_like(state.restarts)
        self.counts, self.seconds = [0], [(0.0, 0.0)]
        self.records = [np.zeros((*state.terms.shape[:-1], 0, len(TERMS)), np.float32)]

    @property
    def losses(self) -> NDArray[np.float32]:
        """Terms of the loss at every step, ``([lanes,] steps, terms)``."""
        return np.concatenate(self.records, axis=-2)

    def next_scale(self, programs: Programs) -> None:
        """Begin the next scale, with the images of the present one."""
        before = self.state
        images = programs.images(before)
        with self.moving:
            if not programs.method.carry:  # the memory of its solver is needed
                before = self.state = before._replace(solver=None)
            self.state = programs.begin(self.index + 1, images, before)
            self.restarts = self.restarts + np.asarray(before.restarts)
            self.index += 1
            self.counts.append(0)
            self.seconds.append((0.0, 0.0))

    def result(self, run: Run, images: Picture, *, lane: int | EllipsisType = ...) -> StylizeResult:
        """Assemble a run's result at the end of the last scale.

        Args:
          run: The run.
          images: Of the programs, for the present state.
          lane: The run's lane where several are side by side.

        Raises:
          ValueError: None of its losses was finite.
        """
        losses = self.losses[lane]
        run.check_losses(losses[:, 0])
        scales = zip(run.schedule.scales, self.seconds, self.counts, strict=True)
        timings = tuple(ScaleTiming(scale.inner, *seconds, n) for scale, seconds, n in scales)
        restarts = self.restarts + np.asarray(self.state.restarts)
        return StylizeResult(
            image=run.finish(images[lane]),
            losses={name: losses[:, i] for i, name in enumerate(TERMS)},
            evaluations=sum(self.counts),
            restarts=int(restarts[lane]),
            compile_seconds=sum(timing.compile_seconds for timing in timings),
            run_seconds=sum(timing.run_seconds for timing in timings),
            timings=timings,
        )

    def checkpoint(self, run: Run) -> Checkpoint:
        """Make a checkpoint of a single run.

        Raises:
          ValueError: If the run has failed and has no state left to continue from.
        """
        with self.moving:
            # A step that failed may have used the memory of the state before.
            leaves = jax.tree.leaves(self.state)
            if self.state.solver is None or any(leaf.is_deleted() for leaf in leaves):
                raise ValueError(
                    "the run failed in the middle of a step and cannot be resumed from here: an "
                    "earlier checkpoint is unchanged"
                )
            return Checkpoint(
                scale=self.index,
                evaluations=tuple(self.counts),
                seconds=tuple(self.seconds),
                restarts=int(self.restarts),
                losses=self.losses,
                state=to_arrays(self.state),
                settings=run.settings,
                surroundings=run.surroundings,
            )

    @classmethod
    def resumed(cls, run: Run, checkpoint: Checkpoint) -> "RunState":
        """Return to where an equal run stood.

        Raises:
          ValueError: If the checkpoint is not of such a run.
        """
        check_same_run(checkpoint.settings, run.settings)
        scales = run.schedule.scales
        if checkpoint.scale >= len(scales) or checkpoint.losses.shape[1] != len(TERMS):
            raise ValueError("the checkpoint is of no run of this jaxnst: begin anew with another")
        shapes = state_shapes(run.method, scales[checkpoint.scale].inner, len(TERMS))
        state = jax.tree.map(jnp.array, from_arrays(checkpoint.state, shapes))
        if int(state.evaluations) != checkpoint.evaluations[-1]:
            raise ValueError("the checkpoint contradicts itself: begin anew with another")
        warn_of_other_environment(checkpoint.surroundings, run.surroundings)
        run_state = cls(state)
        run_state.index, run_state.restarts = checkpoint.scale, np.asarray(checkpoint.restarts)
        run_state.counts, run_state.seconds = [*checkpoint.evaluations], [*checkpoint.seconds]
        run_state.records = [checkpoint.losses]
        return run_state


def optimize_scales(
    programs: Programs,
    run_state: RunState,
    report: Callable[[Phase], None],
    *,
    every: int | None = None,
    workers: int = 1,
) -> None:
    """Optimize from where a run stands to the end of the last scale.

    Args:
      programs: Of the run.
      run_state: Is changed.
      report: Called when a scale begins and after every chunk. It may raise to stop.
      every: End a chunk after every so many evaluations as well, counted over all scales.
      workers: Threads that prepare scales. A run that is stopped does not wait for them.
    """
    scales, period, counts = programs.scales, programs.method.round, run_state.counts
    pool = ThreadPoolExecutor(workers, "jaxnst-compile")
    try:
        prepared = {
            index: programs.prepare(pool, index)
            for index in range(run_state.index, len(scales))
            if index > run_state.index or counts[-1] < scales[index].evaluations
        }
        for index, targets_of in prepared.items():
            if index > run_state.index:
                run_state.next_scale(programs)
            total, used = scales[index].evaluations, counts[-1]
            waited, ran = run_state.seconds[-1]
            report("compile")
            tick = time.perf_counter()
            targets = targets_of(run_state.state)
            begin = time.perf_counter()
            waited, steps = waited + begin - tick, 1
            while used < total:
                tick = time.perf_counter()
                limits = [steps, total - used, CHUNK]
                limits += [period - used % period] if period else []
                limits += [every - sum(counts) % every] if every else []
                with run_state.moving:
                    state, record = programs.advance(targets, run_state.state, min(limits), total)
                    used, before = int(np.max(state.evaluations)), used
                    # Before the next round begins: its fresh state has no losses yet.
                    run_state.terms = np.asarray(state.terms)
                    if period and used % period == 0:
                        state = programs.restart(state)
                    run_state.state, counts[-1] = state, used
                    run_state.records.append(_written(record))
                    run_state.seconds[-1] = waited, ran + time.perf_counter() - begin
                report("optimize")
                per_step = (time.perf_counter() - tick) / max(1, used - before)
                steps = max(1, int(CHUNK_SECONDS / per_step))
            run_state.seconds[-1] = waited, ran + time.perf_counter() - begin
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _written(record: ArrayLike) -> NDArray[np.float32]:
    """Return the rows that a chunk has written; the others are NaN, as no accepted loss is."""
    rows = np.asarray(record)
    first_lane = rows.reshape(-1, *rows.shape[-2:])[0]
    return rows[..., ~np.isnan(first_lane[:, 0]), :]


def optimize(
    run: Run,
    *,
    callback: Callable[[Progress], None] | None = None,
    every: int | None = None,
    resume: Checkpoint | None = None,
) -> StylizeResult:
    """Optimize one run.

    Args:
      run: The run.
      callback: Called about once a second and at every event (see :func:`jaxnst.stylize`).
      every: Call it after every so many evaluations as well.
      resume: Checkpoint of an equal run to continue.

    Raises:
      ValueError: If the checkpoint is of another run, or no loss was finite.
    """
    programs, scales = Programs([run]), run.schedule.scales
    if resume is None:
        run_state = RunState(programs.begin(0, run.start_image(), None))
    else:
        run_state = RunState.resumed(run, resume)

    def report(phase: Phase) -> None:
        losses = {}
        if phase == "optimize":
            losses = dict(zip(TERMS, run_state.terms.tolist(), strict=True))
            if run_state.index == len(scales) - 1 and not np.isfinite(losses["total"]):
                run.check_losses(run_state.losses[:, 0])  # else it would fail to the end
        if callback is None:
            return
        scale, used, state = scales[run_state.index], run_state.counts[-1], run_state.state
        callback(
            Progress(
                phase=phase,
                scale=run_state.index,
                scales=len(scales),
                size=scale.inner,
                evaluations=used,
                scale_evaluations=scale.evaluations,
                total_done=sum(run_state.counts),
                total=run.total,
                losses=losses,
                image=lambda: run.finish(programs.images(state)),
                seconds=sum(map(sum, run_state.seconds)),
                rounds=used // run.method.round if run.method.round else 0,
                checkpoint=lambda: run_state.checkpoint(run),
                checkpoint_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(state)),
            )
        )

    # At the start two workers share the first scale's programs and targets.
    optimize_scales(programs, run_state, report, every=every, workers=2)
    return run_state.result(run, programs.images(run_state.state))


def optimize_side_by_side(
    runs: Sequence[Run], mesh: Mesh, report: Callable[[int, int], None]
) -> Callable[[int], StylizeResult]:
    """Optimize several runs of one program, one lane each.

    Args:
      runs: One for each lane; a run that is listed twice is computed twice.
      mesh: Of the lanes.
      report: Called after every chunk with the scale and the number of its evaluations.

    Returns:
      The result of a lane; the call raises ValueError if none of its losses was finite.
    """
    programs = Programs(runs, mesh=mesh)
    start_images = np.stack([run.start_image() for run in runs])
    run_state = RunState(programs.begin(0, start_images, None))
    reported = 0

    def on_chunk(phase: Phase) -> None:
        nonlocal reported
        done = sum(run_state.counts)
        if phase == "optimize":
            report(run_state.index, done - reported)
        reported = done

    optimize_scales(programs, run_state, on_chunk)
    images = programs.images(run_state.state)
    return lambda lane: run_state.result(runs[lane], images, lane=lane)


def to_arrays(state: Any) -> dict[str, NDArray[Any]]:
    """Copy a pytree of arrays to the host, by the names of its parts."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    # Copies: the memory of an optimizer's state is used again by its next step.
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
    expected = {_name(path): f"{leaf.dtype} {leaf.shape}" for path, leaf in leaves}
    present = {name: f"{array.dtype} {array.shape}" for name, array in arrays.items()}
    for name in [*expected, *present]:
        if expected.get(name) != present.get(name):
            raise ValueError(
                f"the checkpoint has {present.get(name, 'nothing')} as {name}, expected "
                f"{expected.get(name, 'nothing')}: {AGAIN}"
            )
    return jax.tree_util.tree_unflatten(structure, [arrays[name] for name in expected])


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path).lstrip(".")
