"""Checkpoints of a training run: a folder, written by orbax, from which the run resumes.

A checkpoint is written completely or not at all, even if the process is killed meanwhile. It holds
the state, the losses of all steps and a description of the settings: only a run with the same
settings resumes from it.
"""

import contextlib
import errno
import gc
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from numpy.typing import NDArray

from jaxnst._files import AnyPath, name_of, reason
from jaxnst.transfer.checkpoint import WRITING
from jaxnst.transfer.fingerprint import OtherSettings, check_same_run, warn_of_other_environment

T = TypeVar("T")

Tree = Any
"""A pytree of arrays, such as a module's parameters."""

FORMAT = "jaxnst-training-1"

MARK = "jaxnst-training.txt"
"""Name of the file that marks a folder of checkpoints, and holds their format."""

UNFINISHED = "*.orbax-checkpoint-tmp*"
"""Folders of unfinished checkpoints."""

OVERHEAD_BYTES = 2**18
"""Upper bound of the size of a checkpoint without its arrays."""

AGAIN = "give another folder, or delete it to start over"


class TrainState(NamedTuple):
    """The state of a training run: parameters, and the optimizer's moments."""

    params: Tree
    moments: Tree


class Checkpoint(NamedTuple):
    """Everything that a training run needs to resume.

    Attributes:
      step: Number of steps taken.
      state: The state after them.
      losses: ``(step, terms)``: the losses of every step.
      seconds: Time spent.
    """

    step: int
    state: TrainState
    losses: NDArray[np.float32]
    seconds: float


class Checkpoints:
    """A folder of checkpoints of one run. It is created with the first one.

    Args:
      folder: Its path.
      settings: Everything that decides what is learned, as text by name.
      environment: What affects rounding, as text by name.
      seconds: Least time between two checkpoints.

    Raises:
      NotADirectoryError: The folder is a file.
      ValueError: It holds other files, or its name is not in UTF-8.
    """

    def __init__(
        self,
        folder: AnyPath,
        settings: Mapping[str, str],
        *,
        environment: Mapping[str, str] | None = None,
        seconds: int | float = 60,
    ) -> None:
        self._manager: Any = None
        self.folder, self.seconds = os.path.abspath(folder), seconds
        self.settings, self.environment = dict(settings), dict(environment or {})
        _check_folder(self.folder)
        if has_begun(self.folder):
            self._open()
        self._next = time.monotonic() + seconds

    @property
    def last(self) -> int | None:
        """Number of steps before the last checkpoint; None without one."""
        return max(self._steps(), default=None)

    def restore(self, state: TrainState, terms: Sequence[str]) -> Checkpoint | None:
        """Read the last checkpoint.

        A damaged one is deleted, with a warning, if there is an older one that is intact.

        Args:
          state: Has the structure and the devices of the state to be restored.
          terms: Names of the losses.

        Returns:
          The checkpoint, or None if there is none.

        Raises:
          OSError: It cannot be read at the moment, whether it is damaged or not.
          OtherSettings: It was written by a run with other settings.
          ValueError: All checkpoints are damaged.
        """
        damaged: dict[int, Exception] = {}
        for step in sorted(self._steps(), reverse=True):
            try:
                checkpoint, environment = _quietly(partial(self._read, step, state, len(terms)))
            except (OtherSettings, MemoryError):
                raise
            except Exception as error:  # orbax does not document its exceptions
                damage = (None, errno.ENOENT, errno.ENOTDIR)
                is_damaged = not isinstance(error, OSError) or error.errno in damage
                if not is_damaged or "RESOURCE_EXHAUSTED" in str(error):
                    raise
                damaged[step] = error
                continue
            warn_of_other_environment(environment, self.environment, what="model")
            for newer in damaged:
                self._manager.delete(newer)
                warnings.warn(
                    f"the checkpoint after {newer} steps is damaged, the one after {step} is not",
                    stacklevel=2,
                )
            return checkpoint
        if not damaged:
            return None
        newest, name = damaged[max(damaged)], name_of(self.folder)
        raise ValueError(f"{name} is damaged ({reason(newest)[:80]}): {AGAIN}") from newest

    def discard(self) -> None:
        """Delete all checkpoints."""
        for step in self._steps():
            self._manager.delete(step)

    def due(self) -> bool:
        """Return whether it is time for the next checkpoint."""
        return time.monotonic() >= self._next

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and delete all earlier ones but the last.

        Raises:
          OSError: It cannot be written.
        """
        if checkpoint.step == self.last:
            return
        begin = time.monotonic()
        try:
            _quietly(partial(self._write, checkpoint))
        except Exception as error:  # orbax does not document its exceptions
            self._clear()
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(self.folder)
            raise OSError(
                f"the checkpoint in {name_of(self.folder)} could not be written "
                f"({reason(error)}): make room or choose another folder; the previous one is "
                "unchanged"
            ) from error
        finally:
            end = time.monotonic()
            self._next = end + max(self.seconds, (end - begin) / WRITING)

    def close(self) -> None:
        """End orbax's threads."""
        if self._manager is not None:
            self._manager.close()

    def _open(self) -> None:
        """Mark the folder, and open it."""
        import orbax.checkpoint as ocp

        mark = Path(self.folder, MARK)
        if not mark.exists():
            mark.write_text(FORMAT + "\n", encoding="utf-8")
        self._clear()
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def _steps(self) -> list[int]:
        """List the steps after which there are checkpoints."""
        return [] if self._manager is None else list(self._manager.all_steps())

    def _clear(self) -> None:
        """Delete unfinished checkpoints, which take up space."""
        for unfinished in Path(self.folder).glob(UNFINISHED):
            shutil.rmtree(unfinished, ignore_errors=True)

    def _write(self, checkpoint: Checkpoint) -> None:
        from orbax.checkpoint import args

        arrays = {"losses": checkpoint.losses, "state": checkpoint.state._asdict()}
        words = {"settings": self.settings, "surroundings": self.environment}
        self._clear()
        os.makedirs(self.folder, exist_ok=True)
        # On a full disk, orbax's threads would log many errors.
        needed = OVERHEAD_BYTES + sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
        if shutil.disk_usage(self.folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._manager is None:
            self._open()
        composite = args.Composite(
            arrays=args.StandardSave(arrays),
            words=args.JsonSave({**words, "seconds": checkpoint.seconds}),
        )
        self._manager.save(checkpoint.step, args=composite)

    def _read(self, step: int, state: TrainState, terms: int) -> tuple[Checkpoint, dict[str, str]]:
        """Read the checkpoint of a step, and the environment in which it was written."""
        from orbax.checkpoint import args

        def read(item: str, item_args: Any) -> Any:
            composite = args.Composite(**{item: item_args})
            return self._manager.restore(step, args=composite)[item]

        words = read("words", args.JsonRestore())
        instead = f"start over in another folder of checkpoints, or delete {name_of(self.folder)}"
        check_same_run(dict(words["settings"]), self.settings, instead=instead)
        like = {"losses": np.zeros((step, terms), np.float32), "state": state._asdict()}
        arrays = read("arrays", args.StandardRestore(like))
        losses = np.asarray(arrays["losses"], np.float32)
        state = TrainState(**arrays["state"])
        return Checkpoint(step, state, losses, float(words["seconds"])), dict(words["surroundings"])


def has_begun(folder: AnyPath) -> bool:
    """Return whether a folder of checkpoints holds anything besides its mark."""
    return os.path.isdir(folder) and any(name != MARK for name in os.listdir(folder))


def _quietly(work: Callable[[], T]) -> T:
    """Return what ``work`` returns; raise its error, without asyncio and orbax logging it too."""
    loggers = [logging.getLogger(name) for name in ("asyncio", "absl")]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        try:
            return work()
        except Exception as error:
            failure = error.with_traceback(None)
            failure.__cause__ = failure.__context__ = None
        gc.collect()  # asyncio's failed tasks log their errors when they are deleted
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
    raise failure


def _check_folder(folder: str) -> None:
    """Refuse a folder that cannot be used, or holds anything besides checkpoints."""
    name, mark = name_of(folder), Path(folder, MARK)
    try:
        folder.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{name} cannot be a folder of checkpoints, since orbax needs names in UTF-8: give "
            "another folder"
        ) from None
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise NotADirectoryError(
            f"{name} is a file, expected a folder of checkpoints: give another name"
        )
    if mark.is_file():
        with open(mark, encoding="utf-8", errors="replace") as file:
            content = file.read(80).strip()
        if content != FORMAT:
            raise ValueError(f"{name} has format {content!a}, expected {FORMAT!r}: {AGAIN}")
    elif has_begun(folder):
        raise ValueError(f"{name} holds files other than checkpoints: give another folder")
