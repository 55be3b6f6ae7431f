"""Checkpoints of a training run: a folder, written by orbax, from which the run resumes.

A checkpoint is written whole or not at all, even if the process is killed meanwhile. It holds the
state, the losses of all steps and a description of the settings: only a run with the same settings
resumes from it.
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
"""Name of the file that marks a folder as one of checkpoints."""

UNFINISHED = "*.orbax-checkpoint-tmp*"
"""Folders of checkpoints that were not finished."""

OVERHEAD_BYTES = 2**18
"""Most bytes that a checkpoint takes beside its arrays."""

AGAIN = "give another folder, or delete it to begin anew"


class TrainState(NamedTuple):
    """The state of a training run: parameters, and the optimizer's moments."""

    params: Tree
    moments: Tree


class Checkpoint(NamedTuple):
    """Everything that a training run needs to resume.

    Attributes:
      step: Steps that were taken.
      state: After them.
      losses: ``(step, terms)``: those of every step.
      seconds: Spent.
    """

    step: int
    state: TrainState
    losses: NDArray[np.float32]
    seconds: float


class Checkpoints:
    """A folder of checkpoints of one run. It is made when the first one is written.

    Args:
      folder: Its path.
      settings: Everything that decides what is learned, as text by name.
      environment: What decides rounding, as text by name.
      seconds: Between two checkpoints, at least.

    Raises:
      ModuleNotFoundError: orbax is missing.
      NotADirectoryError: There is a file of that name.
      PermissionError: The folder cannot be made.
      ValueError: There are other files in it, or its name is not in UTF-8.
    """

    def __init__(
        self,
        folder: AnyPath,
        settings: Mapping[str, str],
        *,
        environment: Mapping[str, str] | None = None,
        seconds: int | float = 60,
    ) -> None:
        try:
            import orbax.checkpoint
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "checkpoints need orbax: pip install 'jaxnst[train]'"
            ) from error

        self._orbax: Any = orbax.checkpoint
        self._manager: Any = None
        self.folder, self.seconds = os.path.abspath(folder), seconds
        self.settings, self.environment = dict(settings), dict(environment or {})
        _check_folder(self.folder)
        if has_begun(self.folder):
            self._open()
        self._next = time.monotonic() + seconds

    @property
    def last(self) -> int | None:
        """Steps of the last checkpoint, if there is one."""
        return max(self._steps(), default=None)

    def restore(self, state: TrainState, terms: Sequence[str]) -> Checkpoint | None:
        """Read the last checkpoint.

        A damaged one is deleted, with a warning, if there is an older one that is not damaged.

        Args:
          state: Of the same structure, on the devices that the restored one is to be on.
          terms: Names of the losses.

        Returns:
          The checkpoint, or None if there is none.

        Raises:
          OSError: One cannot be read at present, whatever it holds.
          OtherSettings: It was written by a run with other settings.
          ValueError: All checkpoints are damaged.
        """
        damaged: dict[int, Exception] = {}
        for step in sorted(self._steps(), reverse=True):
            try:
                checkpoint, environment = _quietly(partial(self._read, step, state, len(terms)))
            except OtherSettings:
                raise
            except Exception as error:  # orbax promises no particular kinds
                # Errors of the machine say nothing of the file.
                passing = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
                if isinstance(error, OSError):
                    passing = error.errno not in (None, errno.ENOENT, errno.ENOTDIR)
                if passing:
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
        """Tell whether it is time for the next checkpoint."""
        return time.monotonic() >= self._next

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; of those before, one is kept.

        Raises:
          OSError: It cannot be written.
        """
        if checkpoint.step == self.last:
            return
        begin, args = time.monotonic(), self._orbax.args
        arrays = {"losses": checkpoint.losses, "state": checkpoint.state._asdict()}
        words = {"settings": self.settings, "surroundings": self.environment}
        composite = args.Composite(
            arrays=args.StandardSave(arrays),
            words=args.JsonSave({**words, "seconds": checkpoint.seconds}),
        )

        def write() -> None:
            self._clear()
            os.makedirs(self.folder, exist_ok=True)
            # On a full disk, orbax's threads would complain at length.
            needed = OVERHEAD_BYTES + sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
            if shutil.disk_usage(self.folder).free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._manager is None:
                self._open()
            self._manager.save(checkpoint.step, args=composite)

        try:
            _quietly(write)
        except Exception as error:  # orbax promises no particular kinds
            self._clear()
            with contextlib.suppress(OSError):  # there is something in it
                os.rmdir(self.folder)
            raise OSError(
                f"the checkpoint in {name_of(self.folder)} could not be written "
                f"({reason(error)}): make room or choose another folder; the one before is "
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
        mark = Path(self.folder, MARK)
        if not mark.exists():
            mark.write_text(FORMAT + "\n", encoding="utf-8")
        self._clear()
        options = self._orbax.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False
        )
        self._manager = self._orbax.CheckpointManager(self.folder, options=options)

    def _steps(self) -> list[int]:
        """List the steps after which there are checkpoints."""
        return [] if self._manager is None else list(self._manager.all_steps())

    def _clear(self) -> None:
        """Delete unfinished checkpoints, which take space on the disk."""
        for unfinished in Path(self.folder).glob(UNFINISHED):
            shutil.rmtree(unfinished, ignore_errors=True)

    def _read(self, step: int, state: TrainState, terms: int) -> tuple[Checkpoint, dict[str, str]]:
        """Read the checkpoint of a step, and the environment in which it was written."""
        args = self._orbax.args

        def read(item: str, how: Any) -> Any:
            composite = args.Composite(**{item: how})
            return self._manager.restore(step, args=composite)[item]

        words = read("words", args.JsonRestore())
        anew = f"begin anew in another folder of checkpoints, or delete {name_of(self.folder)}"
        check_same_run(dict(words["settings"]), self.settings, instead=anew)
        like = {"losses": np.zeros((step, terms), np.float32), "state": state._asdict()}
        arrays = read("arrays", args.StandardRestore(like))
        losses = np.asarray(arrays["losses"], np.float32)
        state = TrainState(**arrays["state"])
        return Checkpoint(step, state, losses, float(words["seconds"])), dict(words["surroundings"])


def has_begun(folder: AnyPath) -> bool:
    """Tell whether a folder holds anything beside the file that marks it as one of checkpoints."""
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
        gc.collect()  # asyncio's tasks that failed complain when they are deleted
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
    raise failure


def _check_folder(folder: str) -> None:
    """Refuse a folder that cannot be used, or holds anything but checkpoints."""
    name = name_of(folder)
    try:
        folder.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{name} cannot be a folder of checkpoints, since orbax takes names in UTF-8 only: "
            "give another folder"
        ) from None
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise NotADirectoryError(
            f"{name} is a file, expected a folder of checkpoints: name another"
        )
    path = Path(folder)
    existing = next(one for one in (path, *path.parents) if one.exists())
    if not os.access(existing, os.W_OK):
        raise PermissionError(f"{name} cannot be written to: give another folder")
    mark = path / MARK
    if not mark.is_file():
        if has_begun(folder):
            raise ValueError(f"{name} holds other files than checkpoints: give another folder")
        return
    with open(mark, encoding="utf-8", errors="replace") as file:
        found = file.read(80).strip()
    if found != FORMAT:
        raise ValueError(f"{name} has format {found!a}, expected {FORMAT!r}: {AGAIN}")
