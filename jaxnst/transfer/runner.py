"""The loop over the scales of a run, or of several runs side by side.

Images are optimized coarse to fine. Every scale has targets and one compiled loop; both are
prepared in the background while the scale before runs. The loop is called in chunks of about a
second, between which the run can be watched, saved, changed and stopped: where chunks end changes
nothing.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from jaxnst.transfer.change import Change, change_words
from jaxnst.transfer.checkpoint import AGAIN, Checkpoint
from jaxnst.transfer.fingerprint import check_same_run, warn_of_other_environment
from jaxnst.transfer.pyramid import Scale
from jaxnst.transfer.result import Picture, Progress, ScaleTiming, StylizeResult
from jaxnst.transfer.run import Run
from jaxnst.transfer.style_cache import target_shapes

CHUNK_SECONDS = 1.0

Phase = Literal["compile", "optimize"]


class Programs:
    """The compiled programs of one run, or of several that differ in numbers and pictures only.

    With a mesh every run has a lane: states, records and images have one more axis in front; a run
    that is listed twice is computed twice. ``before`` are the programs of the same run before a
    change, whose parameters are used again if they are the same.
    """

    params: Params

    def __init__(
        self, runs: Sequence[Run], *, mesh: Mesh | None = None, before: "Programs | None" = None
    ) -> None:
        first = runs[0]
        self.runs, self.mesh = runs, mesh
        self.method = first.method
        self.static = first.objective, first.method
        self.numbers = self._stack([run.numbers for run in runs])
        self.rates = self._stack([run.rates for run in runs])
        same = before is not None and before.runs[0].tuning == first.tuning
        params = before.params if before and same else first.tuned_parameters()
        self.params = self.params_of_one = params
        if mesh is not None:
            self.params = shared(mesh, params)
            self.params_of_one = jax.device_put(params, mesh.devices[0])
        self.pool: ThreadPoolExecutor | None = None
        self.prepared = dict[int, tuple[Future[None], Future[Targets] | None]]()

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The scales of the run."""
        return self.runs[0].schedule.scales

    def prepare(self, index: int, *, workers: int = 1) -> None:
        """Begin to compile programs and compute targets in the background, from a scale on.

        A run that is stopped does not wait for the threads.
        """
        self.pool = ThreadPoolExecutor(workers, "jaxnst-compile")
        matched = self.runs[0].objective.by_neighbors  # they are found when a scale has begun
        for later in range(index, len(self.scales)):
            compiled = self.pool.submit(self.compile_loop, later)
            targets = None if matched else self.pool.submit(self.targets, later)
            self.prepared[later] = compiled, targets

    def is_ready(self, index: int) -> bool:
        """Return whether a scale is prepared."""
        return all(future is None or future.done() for future in self.prepared[index])

    def wait(self, index: int, state: State) -> AnyTargets:
        """Wait until a scale is prepared, and return its targets; ``state`` is one of the scale."""
        compiled, targets = self.prepared.pop(index)
        compiled.result()
        return self.neighbors(index, state) if targets is None else targets.result()

    def close(self) -> None:
        """Prepare no further scales."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)

    @default_numerics()
    def compile_loop(self, index: int) -> None:
        """Compile a scale's loop and the functions that start it and decode its image."""
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
        return self._each(_targets, self.params, lanes)

    @default_numerics()
    def neighbors(self, index: int, state: State) -> AnyTargets:
        """Find the nearest neighbors of a scale that begins, or began, with ``state.origin``."""
        origins = np.asarray(self._each(_origin, None, state))
        several = [origins] if self.mesh is None else origins
        pairs = zip(self.runs, several, strict=True)
        return self._stack(
            [run.neighbors(self.params_of_one, index, origin) for run, origin in pairs]
        )

    def begin(self, index: int, images: Picture, before: State | None) -> State:
        """Return the state in which a scale begins, with RGB images of any size.

        The last state of the scale before is used if the method carries anything over.
        """
        size = self.scales[index].inner
        several = [images] if self.mesh is None else images
        sized = self._stack([resample(image, size) for image in several])
        carried = before if self.method.carry else None
        return self._each(_begin, None, (sized, carried))

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
        return self._each(_advance, (self.params, *counts), lanes)

    def restart(self, state: State) -> State:
        """Begin a new round of the solver."""
        return self._each(_restart, None, (self.rates, state))

    @default_numerics()
    def images(self, state: State) -> Picture:
        """Return the image of a state as unclipped RGB, at the inner size of its scale."""
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
    """The progress of a run. It changes only while ``moving`` is held; any thread may read it.

    Attributes:
      programs: Of the run, with its present options.
      index: The present scale.
      state: The optimizer's state.
      shown: The images with which the present scale began, before they were enlarged to it; None
        once it has moved.
      counts: Evaluations of each scale that has begun.
      seconds: Spent waiting for programs, and optimizing, of each scale that has begun.
      restarts: Of earlier scales.
      terms: The last step's terms of the loss.
      records: Terms of the loss at every step, ``([lanes,] steps, terms)``, in pieces.
    """

    def __init__(self, programs: Programs, state: State) -> None:
        self.programs, self.state, self.moving = programs, state, threading.Lock()
        self.shown: Picture | None = None
        self.terms = np.asarray(state.terms)
        self.index, self.restarts = 0, np.zeros_like(state.restarts)
        self.counts, self.seconds = [0], [(0.0, 0.0)]
        self.records = [np.zeros((*state.terms.shape[:-1], 0, len(TERMS)), np.float32)]

    @property
    def losses(self) -> NDArray[np.float32]:
        """Terms of the loss at every step, ``([lanes,] steps, terms)``."""
        return np.concatenate(self.records, axis=-2)

    @property
    def done(self) -> int:
        """Evaluations of all scales."""
        return sum(self.counts)

    @property
    def planned(self) -> int:
        """Evaluations of the present scale, as far as it is known."""
        return self.programs.scales[self.index].evaluations

    @property
    def is_between_scales(self) -> bool:
        """Whether the present scale has ended and there is another."""
        return self.counts[-1] >= self.planned and self.index + 1 < len(self.programs.scales)

    @property
    def at_end(self) -> bool:
        """Whether all evaluations that are planned are done."""
        return self.counts[-1] >= self.planned and self.index + 1 == len(self.programs.scales)

    def next_scale(self) -> None:
        """Begin the next scale, with the images of the present one."""
        programs, before = self.programs, self.state
        images = programs.images(before)
        with self.moving:
            if not programs.method.carry:  # the memory of its solver is needed
                before = self.state = before._replace(solver=None)
            self.state = programs.begin(self.index + 1, images, before)
            self.restarts = self.restarts + np.asarray(before.restarts)
            self.index, self.shown = self.index + 1, images
            self.counts.append(0)
            self.seconds.append((0.0, 0.0))

    def change_to(self, programs: Programs) -> None:
        """Start over where a single run stands, with other programs; ``moving`` is held."""
        before, image = self.state, self.programs.images(self.state)
        state = programs.begin(self.index, image, None)
        self.state = state._replace(evaluations=before.evaluations, restarts=before.restarts)
        self.programs.close()
        self.programs, self.shown = programs, None

    def images(self) -> Picture:
        """Return the images that the run would end with here, RGB in no bounds."""
        return self.programs.images(self.state) if self.shown is None else self.shown

    def result(
        self,
        run: Run,
        images: Picture,
        *,
        lane: int | EllipsisType = ...,
        changes: Sequence[Change] = (),
    ) -> StylizeResult:
        """Assemble a run's result as it stands, with images from :meth:`images`.

        ``lane`` is the run's where several are side by side; ``changes`` have been applied.

        Raises:
          ValueError: None of its losses was finite.
        """
        losses = self.losses[lane]
        run.check_losses(losses[:, 0])
        scales = zip(run.schedule.scales, self.seconds, self.counts, strict=False)
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
            changes=tuple(changes),
        )

    def checkpoint(self, run: Run, changes: "Changes") -> Checkpoint:
        """Make a checkpoint of a single run; ``run`` is as it began.

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
                settings=run.settings | change_words([*changes.applied, *changes.planned]),
                surroundings=run.surroundings,
                changes=len(changes.applied),
            )

    @classmethod
    def resumed(cls, run: Run, checkpoint: Checkpoint, changes: "Changes") -> "RunState":
        """Return to where an equal run stood; ``run`` is as it began.

        Changes that the checkpoint has behind it become applied ones.

        Raises:
          ValueError: If the checkpoint is not of such a run.
        """
        check_same_run(checkpoint.settings, run.settings | change_words(changes.planned))
        warn_of_other_environment(checkpoint.surroundings, run.surroundings)
        for _ in range(min(checkpoint.changes, len(changes.planned))):
            changes.applied.append(changes.planned.pop(0))
            run = run.changed(changes.applied[-1].options)
        if changes.applied:
            run.continue_from(checkpoint.evaluations)
        scales = run.schedule.scales
        if checkpoint.scale >= len(scales) or checkpoint.losses.shape[1] != len(TERMS):
            raise ValueError("the checkpoint does not fit this run: start over with another")
        shapes = state_shapes(run.method, scales[checkpoint.scale].inner, len(TERMS))
        state = jax.tree.map(jnp.array, from_arrays(checkpoint.state, shapes))
        if int(state.evaluations) != checkpoint.evaluations[-1]:
            raise ValueError("the checkpoint is inconsistent: start over with another")
        run_state = cls(Programs([run]), state)
        run_state.index, run_state.restarts = checkpoint.scale, np.asarray(checkpoint.restarts)
        run_state.counts, run_state.seconds = [*checkpoint.evaluations], [*checkpoint.seconds]
        run_state.records = [checkpoint.losses]
        return run_state


class Changes:
    """The changes of a single run: planned ahead, or requested by its callback.

    Args:
      planned: Changes to apply at given evaluations.

    Attributes:
      applied: Changes that have been applied.
      planned: Changes still to be applied, ordered by evaluation.
      asked: Options to change as soon as possible.
      prepared: Options being changed, the run with the new options, and its programs; None in
        place of the programs if the current ones are kept.
    """

    def __init__(self, planned: Sequence[Change] = ()) -> None:
        self.applied, self.asked = list[Change](), dict[str, Any]()
        self.planned = sorted(planned, key=lambda change: change.evaluation)
        self.prepared: tuple[dict[str, Any], Run, Programs | None] | None = None

    def apply(self, run_state: RunState) -> None:
        """Apply what is due, or asked for and prepared; at the end of a run without preparation.

        Between two scales it is the next one that changes; but ``steps`` decide whether there is
        one.
        """
        while self.planned and self.planned[0].evaluation <= run_state.done:
            if run_state.is_between_scales and not _only_steps(self.planned[0].options):
                break
            change = self.planned.pop(0)
            self._apply(run_state, change, *_changed(run_state, change.options))
        while self.asked or self.prepared:
            index, between, at_end = run_state.index, run_state.is_between_scales, run_state.at_end
            if self.prepared is None:
                if self.planned and not at_end:
                    return
                asked, self.asked = self.asked, {}
                run, programs = _changed(run_state, asked)
                self.prepared = asked, run, programs
                if programs is not None and not at_end:
                    programs.prepare(index + between)
            options, run, programs = self.prepared
            if not (at_end or programs is None or (not between and programs.is_ready(index))):
                return
            self.prepared = None
            self._apply(run_state, Change(run_state.done, options), run, programs)

    def _apply(
        self, run_state: RunState, change: Change, run: Run, programs: Programs | None
    ) -> None:
        with run_state.moving:
            run.continue_from(run_state.counts)
            if programs is None:
                run_state.programs.runs = [run]
            else:
                run_state.change_to(programs)
            self.applied.append(change)


def _changed(run_state: RunState, options: Mapping[str, Any]) -> tuple[Run, Programs | None]:
    """Return a run with other options, and its programs; None: they are the present ones."""
    before = run_state.programs
    run = before.runs[0].changed(options)
    return run, None if _only_steps(options) else Programs([run], before=before)


def _only_steps(options: Mapping[str, Any]) -> bool:
    return options.keys() <= {"steps"}


def optimize_scales(
    run_state: RunState,
    report: Callable[[Phase], None],
    *,
    every: int | None = None,
    workers: int = 1,
    changes: Changes | None = None,
) -> None:
    """Optimize from where a run stands to the end of the last scale.

    ``report`` is called when a scale begins or the run has changed, and after every chunk; it may
    raise to stop. With ``every``, a chunk also ends at every multiple of that number of
    evaluations, counted over all scales. ``workers`` threads prepare scales; a run that is stopped
    does not wait for them.
    """
    counts, changes = run_state.counts, Changes() if changes is None else changes
    programs, targets, steps = run_state.programs, None, 1
    try:
        while True:
            index = run_state.index
            changes.apply(run_state)
            if run_state.programs is not programs:
                # The first evaluation is that of the present image.
                programs, targets, steps = run_state.programs, None, 2
            if run_state.is_between_scales:
                targets, steps = None, 1
                run_state.next_scale()
                continue
            if run_state.at_end:
                break
            if targets is None:
                if index not in programs.prepared:
                    programs.prepare(index, workers=workers)
                waited, ran = run_state.seconds[-1]
                report("compile")
                tick = time.perf_counter()
                targets = programs.wait(index, run_state.state)
                begin = time.perf_counter()
                waited += begin - tick
            tick, used, period = time.perf_counter(), counts[-1], programs.method.round
            end = run_state.planned
            if changes.planned:
                end = min(end, used + changes.planned[0].evaluation - run_state.done)
            limits = [1 if changes.prepared else steps, end - used, CHUNK]
            limits += [period - used % period] if period else []
            limits += [every - run_state.done % every] if every else []
            with run_state.moving:
                state, record = programs.advance(targets, run_state.state, min(limits), end)
                used, before = int(np.max(state.evaluations)), used
                # Before the next round begins: its fresh state has no losses yet.
                run_state.terms = np.asarray(state.terms)
                if period and used % period == 0:
                    state = programs.restart(state)
                run_state.state, run_state.shown, counts[-1] = state, None, used
                run_state.records.append(_written(record))
                run_state.seconds[-1] = waited, ran + time.perf_counter() - begin
            report("optimize")
            per_step = (time.perf_counter() - tick) / max(1, used - before)
            steps = max(1, int(CHUNK_SECONDS / per_step))
            run_state.seconds[-1] = waited, ran + time.perf_counter() - begin
    finally:
        programs.close()
        if changes.prepared and changes.prepared[2]:
            changes.prepared[2].close()


def _written(record: ArrayLike) -> NDArray[np.float32]:
    """Return the rows that a chunk has written; the others are NaN, as no accepted loss is."""
    rows = np.asarray(record)
    first_lane = rows.reshape(-1, *rows.shape[-2:])[0]
    return rows[..., ~np.isnan(first_lane[:, 0]), :]


def optimize(
    run: Run,
    *,
    callback: Callable[[Progress], object] | None = None,
    every: int | None = None,
    resume: Checkpoint | None = None,
    changes: Sequence[Change] = (),
) -> StylizeResult:
    """Optimize one run; callback, ``every`` and changes are those of :func:`jaxnst.stylize`.

    Raises:
      ValueError: If the checkpoint is of another run, or no loss was finite.
    """
    to_come = Changes(changes)
    if resume is None:
        programs = Programs([run])
        run_state = RunState(programs, programs.begin(0, run.start_image(), None))
    else:
        run_state = RunState.resumed(run, resume, to_come)

    def result() -> StylizeResult:
        with run_state.moving:
            programs, applied = run_state.programs, to_come.applied
            return run_state.result(programs.runs[0], run_state.images(), changes=applied)

    def report(phase: Phase) -> None:
        programs, losses = run_state.programs, {}
        present, scales = programs.runs[0], programs.scales
        if phase == "optimize":
            losses = dict(zip(TERMS, run_state.terms.tolist(), strict=True))
            if run_state.index == len(scales) - 1 and not np.isfinite(losses["total"]):
                # Else it would fail to the end.
                present.check_losses(run_state.losses[:, 0])
        if callback is None:
            return
        scale, used, state = scales[run_state.index], run_state.counts[-1], run_state.state
        answer = callback(
            Progress(
                phase=phase,
                scale=run_state.index,
                scales=len(scales),
                size=scale.inner,
                evaluations=used,
                scale_evaluations=scale.evaluations,
                total_done=run_state.done,
                total=present.total,
                losses=losses,
                image=lambda: present.finish(programs.images(state)),
                seconds=sum(map(sum, run_state.seconds)),
                rounds=used // present.method.round if present.method.round else 0,
                checkpoint=lambda: run_state.checkpoint(run, to_come),
                checkpoint_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(state)),
                changes=tuple(to_come.applied),
                result=result,
            )
        )
        if isinstance(answer, Mapping):
            to_come.asked |= answer

    # At the start two workers share the first scale's programs and targets.
    optimize_scales(run_state, report, every=every, workers=2, changes=to_come)
    return result()


def optimize_side_by_side(
    runs: Sequence[Run], mesh: Mesh, report: Callable[[int, int], None]
) -> Callable[[int], StylizeResult]:
    """Optimize several runs of one program, one lane each; one that is listed twice runs twice.

    ``report`` is called after every chunk with the scale and the number of its evaluations.

    Returns:
      The result of a lane; the call raises ValueError if none of its losses was finite.
    """
    programs = Programs(runs, mesh=mesh)
    start_images = np.stack([run.start_image() for run in runs])
    run_state = RunState(programs, programs.begin(0, start_images, None))
    reported = 0

    def on_chunk(phase: Phase) -> None:
        nonlocal reported
        done = sum(run_state.counts)
        if phase == "optimize":
            report(run_state.index, done - reported)
        reported = done

    optimize_scales(run_state, on_chunk)
    images = run_state.images()
    return lambda lane: run_state.result(runs[lane], images, lane=lane)


def to_arrays(state: Any) -> dict[str, NDArray[Any]]:
    """Return the leaves of a pytree of arrays on the host, by the names of its parts.

    On a CPU they are the arrays themselves. While one is in use, JAX does not use its memory again.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def from_arrays(arrays: Mapping[str, NDArray[Any]], like: Any) -> Any:
    """Undo :func:`to_arrays`; the arrays must match a pytree of arrays, or of shapes and types.

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
