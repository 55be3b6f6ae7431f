"""A run in a thread of its own, which can be changed, paused and continued."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from jaxnst._numerics import default_numerics
from jaxnst.image.exchange import ImageLike
from jaxnst.image.record import Record, parameters_sha256
from jaxnst.optim.sharding import default_device, threads_of
from jaxnst.recipes.schema import replace
from jaxnst.transfer.change import Change, recorded, sources_of
from jaxnst.transfer.pyramid import continued
from jaxnst.transfer.result import Picture, Progress, StylizeResult
from jaxnst.transfer.run import run_of
from jaxnst.transfer.runner import optimize

Status = Literal["compiling", "painting", "paused", "finished", "failed", "stopped"]

PICTURES = ("content", "style", "init", "mask", "style-mask")
"""What a painting is made of, in the order of a record."""

MORE = 60
"""A change in the last scale gets as many evaluations as that scale has, at most this many."""

EVERY = 2
"""Evaluations after which a chunk ends, so that changes are applied soon."""


class Painting:
    """A run in a thread of its own, which can be changed, paused and continued.

    It begins at once. When it has ended it waits for further changes, until it is stopped. All
    methods may be called from any thread.

    Args:
      content: As for :func:`jaxnst.stylize`.
      styles: As for :func:`jaxnst.stylize`.
      listener: Called with the painting after every chunk, when a scale begins, a change is applied
        or the status changes; from the painting's thread or from that of a method. It must not
        block.
      options: Those of :func:`jaxnst.stylize` that describe the picture.

    Attributes:
      status: What it is doing.
      progress: The newest; None before the first.
      error: What went wrong, in one line, if it has failed.

    Raises:
      FileNotFoundError, TypeError, ValueError, KeyError: As :func:`jaxnst.stylize`, at once.
    """

    def __init__(
        self,
        content: "ImageLike",
        styles: "ImageLike | Sequence[ImageLike]",
        *,
        listener: Callable[["Painting"], None],
        **options: Any,
    ) -> None:
        with default_numerics():
            self._run = self._changed = run_of(content, styles, **options)
        self.status: Status = "compiling"
        self.progress: Progress | None = None
        self.error: str | None = None
        start = options.get("init")
        start = None if self._run.init is None else start  # else it is the name of one
        masks = options.get("masks"), options.get("style_masks")
        pictures = content, styles, start, *masks
        self._pictures = dict(zip(PICTURES, pictures, strict=True))
        self._listener = listener
        last = self._run.schedule.scales[-1].evaluations
        self._more = min(last, MORE)
        self._asked: dict[str, Any] = {}
        self._handed: dict[str, Any] = {}
        self._applied, self._paused, self._stopped = 0, False, False
        self._moved, self._updating = threading.Condition(), threading.Lock()
        self._thread = threading.Thread(target=self._paint, name="jaxnst-painting", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> Mapping[str, Any]:
        """Options that have been asked for and are not applied yet."""
        with self._moved:
            return self._handed | self._asked

    def update(self, **options: Any) -> None:
        """Change options, as soon as their programs and targets are prepared; the newest win.

        They are those of :class:`jaxnst.Change`. After the end, the last scale continues with them.

        Raises:
          FileNotFoundError, TypeError, ValueError, KeyError: An option cannot be changed, or not to
            the given value; nothing has been changed.
          ValueError: The painting has failed or was stopped.
        """
        with self._updating, default_numerics():
            if self._stopped or not self._thread.is_alive():
                raise ValueError("the painting has failed or was stopped: begin another")
            self._changed = self._changed.changed(options)
            with self._moved:
                self._asked |= options
                self._moved.notify_all()

    def pause(self) -> None:
        """Hold after the current chunk."""
        self._set(paused=True)

    def resume(self) -> None:
        """Continue after :meth:`pause`."""
        self._set(paused=False)

    def _set(self, *, paused: bool) -> None:
        with self._moved:
            self._paused = paused
            self._moved.notify_all()

    def image(self) -> Picture:
        """Return the picture as it stands: ``(H, W, 3)`` RGB in [0, 1], or with its opacity.

        Raises:
          ValueError: It has not begun.
        """
        with default_numerics():
            return self._begun().image()

    def result(self) -> StylizeResult:
        """Return the result as it stands, with its losses and changes so far.

        It waits for the end of a chunk.

        Raises:
          ValueError: It has not begun, or none of its losses was finite.
        """
        with default_numerics():
            return self._begun().result()

    def record(self, result: StylizeResult) -> Record:
        """Describe how a result of :meth:`result` is made, for its file.

        With this record, ``jaxnst-run --from`` reproduces the picture byte for byte on the same
        machine, even one taken in the middle of a run.

        Raises:
          OSError: A file cannot be read.
          ValueError: A picture or mask is not a file, or there were fewer evaluations than scales.
        """
        run, changes = self._run, list(result.changes)
        for change in changes:
            run = run.changed(change.options)
        counts = [timing.evaluations for timing in result.timings]
        steps, schedule = run.recipe.scales.steps, run.schedule
        planned = continued(schedule, counts, steps).scales
        if sum(scale.evaluations for scale in planned) > result.evaluations:
            if result.evaluations < len(schedule.scales):
                raise ValueError("the painting has hardly begun: wait a moment")
            changes.append(Change(result.evaluations, {"steps": result.evaluations}))
        sources = [s for role, several in self._pictures.items() for s in sources_of(role, several)]
        starts = [source.name for source in sources if source.role == "init"]
        network, recipe = self._run.objective.network, self._run.arguments["recipe"]
        mix, device = self._run.guidance.mix, default_device()
        mixture = tuple(
            f"{layer}:{','.join(map(str, weights))}".removeprefix(":")
            for layer, weights in mix.items()
        )
        return Record(
            recipe=replace(recipe, ("init",), starts[0]) if starts else recipe,
            network=network.name,
            network_sha256=parameters_sha256(network.params),
            size=None if recipe.scales.sides else max(schedule.size),
            style_size=self._run.arguments.get("style_size"),
            seed=self._run.seed,
            precision=network.precision,
            remat=self._run.objective.remat,
            tile=self._run.objective.tile,
            platform=device.platform,
            threads=threads_of(device),
            sources=tuple(sources),
            arguments={"bits": 8, **({"style-mix": mixture} if mixture else {})},
            changes=tuple(map(recorded, changes)),
        )

    def stop(self, *, timeout: int | float | None = None) -> None:
        """End the thread after the current chunk; wait for that for at most ``timeout`` seconds."""
        with self._moved:
            self._stopped = True
            self._moved.notify_all()
        self._thread.join(timeout)

    def _begun(self) -> Progress:
        if self.progress is None:
            raise ValueError("the painting has not begun: wait for its first progress")
        return self.progress

    @default_numerics()
    def _paint(self) -> None:
        try:
            optimize(self._run, callback=self._report, every=EVERY)
        except _Stopped:
            self._tell("stopped")
        except Exception as error:
            self.error = " ".join(str(error).split()) or type(error).__name__
            self._tell("failed")

    def _report(self, progress: Progress) -> dict[str, Any]:
        """Receive a report of the run, and return the options to be changed once it may go on."""
        at_end = progress.total_done >= progress.total
        with self._moved:
            self.progress = progress
            for change in progress.changes[self._applied :]:
                self._handed = {
                    name: value
                    for name, value in self._handed.items()
                    if change.options.get(name, change) is not value
                }
            self._applied = len(progress.changes)
        self._tell("compiling" if progress.phase == "compile" else "painting")
        while True:
            with self._moved:
                idle = at_end and not (self._asked or self._handed)
                if self._stopped:
                    raise _Stopped
                if not (self._paused or idle):
                    options = self._hand_over(progress)
                    break
                waiting: Status = "paused" if self._paused else "finished"
                if self.status == waiting:
                    self._moved.wait()
                    continue
            self._tell(waiting)
        if self.status in ("paused", "finished"):
            self._tell("compiling" if at_end else "painting")
        return options

    def _hand_over(self, progress: Progress) -> dict[str, Any]:
        options, self._asked = self._asked, {}
        at_end = progress.total_done >= progress.total
        in_last = progress.scale + 1 == progress.scales
        if in_last and (options or at_end) and "steps" not in options:
            options["steps"] = max(progress.total, progress.total_done + self._more)
        self._handed |= options
        return options

    def _tell(self, status: Status) -> None:
        self.status = status
        self._listener(self)


class _Stopped(Exception):
    """The painting was stopped."""
