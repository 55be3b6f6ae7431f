"""Progress of a run, and its result."""

from collections.abc import Callable
from typing import Literal, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from jaxnst._checks import counted
from jaxnst._files import AnyPath
from jaxnst.image import save_image
from jaxnst.image.exchange import png_bytes
from jaxnst.transfer.change import Change
from jaxnst.transfer.checkpoint import Checkpoint

Picture = NDArray[np.float32]


def _nowhere() -> NoReturn:
    raise ValueError("this progress belongs to no run, so there is no checkpoint or result of it")


class Progress(NamedTuple):
    """Progress of a run, passed to the callback between chunks.

    Attributes:
      phase: ``compile`` while a scale is being prepared, else ``optimize``.
      scale: Which scale, from 0.
      scales: How many there are.
      size: Height and width of the scale, pixels.
      evaluations: Of the loss, in this scale.
      scale_evaluations: Planned for this scale.
      total_done: Evaluations in all scales so far.
      total: Planned for all scales.
      losses: The loss and its weighted terms by name, as in :class:`StylizeResult`; empty before
        the first evaluation.
      image: Call it for the present picture, at the size asked for.
      seconds: Spent waiting for programs and optimizing, including before the run was resumed.
      rounds: Rounds of L-BFGS that have ended in this scale, 0 for a method without.
      checkpoint: Call it, from any thread, for where the run stands at that moment (``resume`` of
        :func:`jaxnst.stylize`). It waits for the end of a chunk, and raises ValueError if the run
        has failed and cannot be resumed.
      checkpoint_bytes: Length of the checkpoint's file, about. The checkpoint takes as much memory
        of the host if the run is on an accelerator, and none on a CPU until the next step.
      changes: Those that have been applied, with the evaluations after which they were.
      result: Call it, from any thread, for the result as the run stands at that moment. It waits
        for the end of a chunk, and raises ValueError if none of the losses was finite.
    """

    phase: Literal["compile", "optimize"]
    scale: int
    scales: int
    size: tuple[int, int]
    evaluations: int
    scale_evaluations: int
    total_done: int
    total: int
    losses: dict[str, float]
    image: Callable[[], Picture]
    seconds: float
    rounds: int = 0
    checkpoint: Callable[[], Checkpoint] = _nowhere
    checkpoint_bytes: int = 0
    changes: tuple[Change, ...] = ()
    result: Callable[[], "StylizeResult"] = _nowhere


class ScaleTiming(NamedTuple):
    """How long one scale took.

    Attributes:
      size: Height and width, pixels.
      compile_seconds: Spent waiting until it could begin. What was compiled or computed for it
        while an earlier scale ran is not counted; it makes that scale's ``run_seconds`` longer.
      run_seconds: Spent optimizing, the callback included.
      evaluations: Of the loss.
    """

    size: tuple[int, int]
    compile_seconds: float
    run_seconds: float
    evaluations: int


class StylizeResult(NamedTuple):
    """A stylized image and how it was made. Notebooks show the image.

    Attributes:
      image: ``(H, W, 3)`` float32 RGB in [0, 1], of the size asked for; ``(H, W, 4)`` with its
        opacity where the content is transparent.
      losses: The loss (``total``) and its weighted terms at every step of every scale: after the
        step with L-BFGS, before it with Adam, whose last picture is not evaluated.
        :func:`jaxnst.plot_losses` draws them.
      evaluations: Of the loss, in all scales.
      restarts: Steps that were taken back because the loss rose far or was not finite.
      compile_seconds: Spent waiting for programs to be compiled and targets to be computed.
      run_seconds: Spent optimizing.
      timings: The same for every scale that has begun.
      changes: Those that were applied, with the evaluations after which they were.
        :func:`jaxnst.stylize` repeats the run with them.
    """

    image: Picture
    losses: dict[str, NDArray[np.float32]]
    evaluations: int
    restarts: int
    compile_seconds: float
    run_seconds: float
    timings: tuple[ScaleTiming, ...] = ()
    changes: tuple[Change, ...] = ()

    def save(self, path: AnyPath, *, quality: int = 95, bits: int = 8) -> None:
        """Write the image to a file, as :func:`jaxnst.save_image` does."""
        save_image(path, self.image, quality=quality, bits=bits)

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        loss = "".join(f"loss {value:.4g}, " for value in self.losses.get("total", [])[-1:])
        seconds = self.compile_seconds + self.run_seconds
        work = f"{counted(self.evaluations, 'evaluation')}, {seconds:.1f} s"
        return f"StylizeResult({width}x{height}, {loss}{work})"

    def _repr_png_(self) -> bytes:
        return png_bytes(self.image)
