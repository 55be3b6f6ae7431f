"""``--checkpoint``: where a run stands is kept in a file, from which the same command goes on."""

import os
import time

import numpy as np

from jaxnst._files import name_of
from jaxnst.cli.errors import explain
from jaxnst.cli.flags import CHECKPOINT_SECONDS
from jaxnst.cli.messages import Messages
from jaxnst.transfer.checkpoint import WRITING, Checkpoint, load_checkpoint, save_checkpoint
from jaxnst.transfer.stylize import Progress, StylizeResult


class Keeper:
    """Listens to a run and keeps where it stands in a file.

    Args:
      path: The file.
      seconds: Between two checkpoints; None: as usual.
      messages: Where it reports that the run goes on, and trouble.
      done: Evaluations after which it goes on.
    """

    def __init__(
        self, path: str, seconds: int | None, messages: Messages, *, done: int = 0
    ) -> None:
        self.path, self.messages, self.done = path, messages, done
        self.seconds = CHECKPOINT_SECONDS if seconds is None else seconds
        self.next = time.monotonic() + self.seconds
        self.last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Write where it stands, if it is time; if that fails, the run goes on all the same."""
        if self.last is None and self.done:  # by now the checkpoint is known to be of this run
            after = f"after {self.done} evaluations"
            self.messages.notice(f"going on from {name_of(self.path)}, {after}")
        self.last, begin = progress, time.monotonic()
        if begin < self.next:
            return
        try:
            self.save(progress)
        except OSError as error:
            self.messages.notice(explain(error))
        end = time.monotonic()
        self.next = end + max(self.seconds, (end - begin) / WRITING)

    def close(self, result: StylizeResult | None) -> None:
        """Write where it stands at the end, or where it was stopped.

        Raises:
          OSError: It cannot be written; what was there before is unchanged.
        """
        if self.last is not None and self.last.total_done > 0:
            self.save(self.last)

    def save(self, progress: Progress) -> None:
        """Write where it stands, unless no step so far had a finite loss: then it has not moved."""
        there = progress.checkpoint()
        if not there.losses.size or np.any(np.isfinite(there.losses[:, 0])):
            save_checkpoint(self.path, there)


def checkpoint_of(path: str | None) -> Checkpoint | None:
    """Read where a run has been, if it has begun before.

    Raises:
      OSError: The file cannot be read.
      ValueError: It is no checkpoint, or damaged.
    """
    if path is None or not os.path.exists(path):
        return None
    return load_checkpoint(path)
