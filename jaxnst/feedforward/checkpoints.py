"""Where a training run stands, as a folder that orbax writes: it is gone on with from there.

A checkpoint is in place whole or not at all, whatever ends a process while it is written. It holds
the state, the losses of all steps, and words on what decides the run: it is gone on with by its own
run only.
"""

import contextlib
import errno
import gc
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnst._files import AnyPath, name_of, reason
from jaxnst.feedforward.training import Place, TrainState, Tree
from jaxnst.transfer.checkpoint import WRITING
from jaxnst.transfer.fingerprint import refuse_others, warn_of_others

FORMAT = "jaxnst-training-1"

MARK = "jaxnst-training.txt"
"""Name of the file by which a folder of checkpoints is known."""

LEFT = "*.orbax-checkpoint-tmp*"
"""Folders of checkpoints that were begun and not finished."""

BESIDE = 2**18
"""Bytes that a checkpoint takes beside its arrays, at most."""

AGAIN = "give another folder, or delete it to begin anew"


class Damaged(ValueError):
    """A checkpoint cannot be read."""


class Checkpoints:
    """A folder of checkpoints of one run.

    Args:
      folder: It is made if need be.
      settings: Words on all that decides what is learned, by name.
      surroundings: Words on what decides the last bits.
      seconds: Between two checkpoints, at least.

    Raises:
      ModuleNotFoundError: orbax is missing.
      NotADirectoryError: There is a file of that name.
      OSError: The folder cannot be made or written to.
      ValueError: There are other files in it, or its name is not in UTF-8.
    """

    def __init__(
        self,
        folder: AnyPath,
        settings: Mapping[str, str],
        *,
        surroundings: Mapping[str, str] | None = None,
        seconds: int | float = 60,
    ) -> None:
        try:
            import orbax.checkpoint
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "checkpoints need orbax: pip install 'jaxnst[train]'"
            ) from error

        self.folder, self.seconds = os.path.abspath(folder), seconds
        self.settings, self.surroundings = dict(settings), dict(surroundings or {})
        self._is_new = not os.path.isdir(self.folder)
        _make(self.folder)
        self._clear()
        self._orbax: Any = orbax.checkpoint
        options = orbax.checkpoint.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False
        )
        self._manager: Any = orbax.checkpoint.CheckpointManager(self.folder, options=options)
        self._next = time.monotonic() + seconds

    @property
    def last(self) -> int | None:
        """Steps of the last checkpoint, if there is one."""
        step: int | None = self._manager.latest_step()
        return step

    def restore(self, state: TrainState, terms: Sequence[str]) -> Place | None:
        """Return the last place, or None if there is none.

        Args:
          state: Of the same structure, on the devices that the restored one is to be on.
          terms: Names of the losses.

        One that is damaged is deleted, with a warning, where there is an older one that is not.

        Raises:
          OSError: One cannot be read now, whatever it holds.
          OtherSettings: It is of a run with other settings.
          ValueError: There are none but damaged checkpoints.
        """
        damaged: dict[int, Damaged] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                place = self._place(step, state, terms)
            except Damaged as error:
                damaged[step] = error
                continue
            for newer in damaged:
                self._manager.delete(newer)
                warnings.warn(
                    f"the checkpoint after {newer} steps is damaged, the one after {step} is not",
                    stacklevel=2,
                )
            return place
        if damaged:
            raise damaged[max(damaged)]
        return None

    def _place(self, step: int, state: TrainState, terms: Sequence[str]) -> Place:
        """Read the checkpoint of a step.

        Raises:
          Damaged: It is.
          ValueError: It is of a run with other settings.
        """
        args = self._orbax.args
        words = self._restored(step, "words", args.JsonRestore())
        try:
            there, elsewhere = dict(words["settings"]), dict(words["surroundings"])
            seconds = float(words["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from error
        anew = f"begin anew in another folder of checkpoints, or delete {name_of(self.folder)}"
        refuse_others(there, self.settings, instead=anew)
        shapes = jax.tree.map(_shape, state)._asdict()
        like = {"losses": np.zeros((step, len(terms)), np.float32), "state": shapes}
        found = self._restored(step, "arrays", args.StandardRestore(like))
        warn_of_others(elsewhere, self.surroundings, what="model")
        losses = np.asarray(found["losses"], np.float32)
        return Place(step, TrainState(**found["state"]), losses, seconds)

    def discard(self) -> None:
        """Delete all checkpoints."""
        for step in self._manager.all_steps():
            self._manager.delete(step)

    def due(self) -> bool:
        """Say whether it is time for the next one."""
        return time.monotonic() >= self._next

    def keep(self, place: Place) -> None:
        """Write a checkpoint; of those before, one is kept.

        Raises:
          OSError: It cannot be written.
        """
        if place.step == self.last:
            return
        begin, args = time.monotonic(), self._orbax.args
        arrays = {"losses": place.losses, "state": place.state._asdict()}
        words = {"settings": self.settings, "surroundings": self.surroundings}
        composite = args.Composite(
            arrays=args.StandardSave(arrays),
            words=args.JsonSave({**words, "seconds": place.seconds}),
        )

        def save() -> None:
            self._clear()
            _check_room(self.folder, arrays)
            self._manager.save(place.step, args=composite)

        _, trouble = _tried(save)
        end = time.monotonic()
        self._next = end + max(self.seconds, (end - begin) / WRITING)
        if trouble is not None:
            self._clear()
            raise OSError(
                f"the checkpoint in {name_of(self.folder)} could not be written "
                f"({reason(trouble)}): make room or choose another folder; the one before is "
                "unchanged"
            ) from trouble

    def close(self) -> None:
        """Write no more; where nothing was written, leave no folder that was not there before."""
        self._manager.close()
        clear_unused(self.folder, is_new=self._is_new)

    def _clear(self) -> None:
        """Delete what was begun and not finished: it takes room."""
        for left in Path(self.folder).glob(LEFT):
            shutil.rmtree(left, ignore_errors=True)

    def _restored(self, step: int, item: str, how: Any) -> Any:
        """Read one part of a checkpoint."""
        composite = self._orbax.args.Composite(**{item: how})
        found, trouble = _tried(lambda: self._manager.restore(step, args=composite)[item])
        if trouble is not None:
            raise trouble if _is_passing(trouble) else self._damaged(trouble)
        return found

    def _damaged(self, error: Exception) -> Damaged:
        return Damaged(f"{name_of(self.folder)} is damaged ({reason(error)[:80]}): {AGAIN}")


def has_begun(folder: AnyPath) -> bool:
    """Tell whether a folder holds anything beside what says that it is one for checkpoints."""
    return os.path.isdir(folder) and any(name != MARK for name in os.listdir(folder))


def clear_unused(folder: AnyPath, *, is_new: bool) -> None:
    """Leave nothing in a folder to which no checkpoint was written.

    Args:
      folder: Its path.
      is_new: Whether it was not there before: then it goes too.
    """
    with contextlib.suppress(OSError):
        if os.listdir(folder) == [MARK]:
            os.unlink(os.path.join(folder, MARK))
            if is_new:
                os.rmdir(folder)


def _is_passing(error: Exception) -> bool:
    """Tell an error of the machine, which says nothing of the file, from one of the file."""
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in (errno.ENOENT, errno.ENOTDIR)
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _tried(work: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """Return what ``work`` returns, and what went wrong: as one error, unlogged."""
    with _no_log_of_tasks():
        try:
            return work(), None
        except Exception as error:  # the library promises no particular kinds
            trouble = error.with_traceback(None)
            trouble.__cause__ = trouble.__context__ = None
        gc.collect()  # tasks that failed complain when they are gone
    return None, trouble


@contextlib.contextmanager
def _no_log_of_tasks() -> Iterator[None]:
    """Keep asyncio and orbax from logging that tasks have failed: their failure is raised too."""
    loggers = [logging.getLogger(name) for name in ("asyncio", "absl")]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _check_room(folder: str, arrays: Tree) -> None:
    """Refuse to begin on a full disk: threads that have begun to write complain at length.

    Raises:
      OSError: There is too little room.
    """
    needed = BESIDE + sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _shape(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(  # type: ignore[no-untyped-call]
        leaf.shape, leaf.dtype, sharding=leaf.sharding
    )


def _make(folder: str) -> None:
    """Make a folder, unless it is there and known."""
    name, mark = name_of(folder), os.path.join(folder, MARK)
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
    if os.path.isdir(folder) and os.listdir(folder):
        if not os.path.isfile(mark):
            raise ValueError(f"{name} holds other files than checkpoints: give another folder")
        with open(mark, encoding="utf-8", errors="replace") as file:
            found = file.read(80).strip()
        if found != FORMAT:
            raise ValueError(f"{name} has format {found!a}, expected {FORMAT!r}: {AGAIN}")
        return
    os.makedirs(folder, exist_ok=True)
    with open(mark, "w", encoding="utf-8") as file:
        file.write(FORMAT + "\n")
