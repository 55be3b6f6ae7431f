"""Checkpoints: the state of a run as data and as a file, enough to resume it byte-identically.

A file is safetensors: arrays, and some JSON in its header. Reading it never runs code. It is
replaced whole or not at all, so that a process that is killed leaves the last one behind.
"""

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from jaxnst._files import AnyPath, check_source, digest_of, name_of, reason, replacing

FORMAT = "jaxnst-checkpoint-2"

MOST_BYTES = 2**36

LOSSES, STATE = "losses", "state."
"""Names of arrays in a file: that of the losses, and the prefix of the state's."""

WRITING = 0.05
"""Share of the time that is spent on writing checkpoints, at most."""

UNKNOWN = frozenset({LOSSES, "state.terms", "state.solver.value"})
"""Arrays that may be infinite, as they are before the first finite loss."""

AGAIN = "give another file, or delete it to start over"


class Checkpoint(NamedTuple):
    """Where a run stands. Tuples have an entry for each scale that has begun.

    Attributes:
      scale: The present scale, from 0.
      evaluations: Of the loss.
      seconds: Spent waiting for programs, and optimizing.
      restarts: Steps taken back in earlier scales.
      losses: ``(steps, terms)``: the loss and its weighted terms at every step.
      state: The optimizer's state by name: image, gradient, memory, moments, averages.
      settings: All that decides the picture, by name; a checkpoint only resumes a run of the same.
      surroundings: Versions and machine, in words, which decide its last bits.
      changes: How many of the run's changes have been applied.
    """

    scale: int
    evaluations: tuple[int, ...]
    seconds: tuple[tuple[float, float], ...]
    restarts: int
    losses: NDArray[np.float32]
    state: dict[str, NDArray[Any]]
    settings: dict[str, str]
    surroundings: dict[str, str]
    changes: int = 0

    @property
    def done(self) -> int:
        """Evaluations of all scales."""
        return sum(self.evaluations)


def save_checkpoint(path: AnyPath, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
      OSError: If it cannot be written; what was there before is unchanged.
      ValueError: If ``path`` is a device or a pipe.
    """
    arrays = {STATE + name: array for name, array in checkpoint.state.items()}
    arrays[LOSSES] = checkpoint.losses
    words = checkpoint._asdict()
    del words["losses"], words["state"]
    run = json.dumps(words)
    metadata = {"format": FORMAT, "run": run, "digest": _digest(run, arrays)}
    with replacing(path) as temporary:
        try:  # straight from the arrays, which may take most of the memory
            safetensors.numpy.save_file(arrays, temporary, metadata)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error


def load_checkpoint(path: AnyPath) -> Checkpoint:
    """Read a checkpoint.

    Raises:
      OSError: If there is no such file, or it cannot be read.
      ValueError: If it is damaged or cut short, no checkpoint, or one of another version of jaxnst.
    """
    name = name_of(path)
    check_source(path, MOST_BYTES)
    try:
        with safetensors.safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except Exception as error:  # the library promises no particular kinds
        raise ValueError(
            f"{name} is cut short or not a checkpoint ({reason(error)[:80]}): {AGAIN}"
        ) from None
    _check_format(name, metadata.get("format", ""))
    if metadata.get("digest") != _digest(metadata.get("run", ""), arrays):
        raise ValueError(f"{name} is damaged, its digest does not match its contents: {AGAIN}")
    try:
        return _assembled(json.loads(metadata["run"]), arrays)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is inconsistent ({reason(error)[:80]}): {AGAIN}") from None


def _check_format(name: str, found: str) -> None:
    if not found.startswith(FORMAT.rstrip("0123456789")):
        raise ValueError(f"{name} is not a checkpoint of jaxnst: {AGAIN}")
    if found != FORMAT:
        raise ValueError(
            f"{name} has format {found[:40]!r}, expected {FORMAT!r}: resume with the version of "
            f"jaxnst that wrote it, or {AGAIN}"
        )


def _digest(run: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    return digest_of({**arrays, "run": np.frombuffer(run.encode(), np.uint8)})


def _assembled(words: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Checkpoint:
    """Assemble a checkpoint from the parts of a file that anybody may have written.

    Raises:
      KeyError: If a part is missing.
      TypeError: If one is of another type.
      ValueError: If it has a value that no run has.
    """
    for key, array in arrays.items():
        wrong = np.isnan(array) if key in UNKNOWN else ~np.isfinite(array)
        if np.any(wrong):
            raise ValueError(f"{key} is not finite")
    losses = arrays.pop(LOSSES)
    if not all(key.startswith(STATE) for key in arrays):
        raise ValueError("unknown arrays")
    if losses.ndim != 2 or losses.dtype != np.float32:
        raise ValueError("losses are not a table")
    scale, restarts = _count(words["scale"]), _count(words["restarts"])
    evaluations = tuple(map(_count, words["evaluations"]))
    seconds = tuple((float(waited), float(ran)) for waited, ran in words["seconds"])
    if not len(evaluations) == len(seconds) == scale + 1:
        raise ValueError("counts are not those of its scales")
    return Checkpoint(
        scale=scale,
        evaluations=evaluations,
        seconds=seconds,
        restarts=restarts,
        losses=losses,
        state={key.removeprefix(STATE): array for key, array in arrays.items()},
        settings={str(key): str(value) for key, value in words["settings"].items()},
        surroundings={str(key): str(value) for key, value in words["surroundings"].items()},
        changes=_count(words.get("changes", 0)),
    )


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError("a count is none")
    return value
