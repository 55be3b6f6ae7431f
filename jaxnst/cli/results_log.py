"""The log and the lock of a folder of results, so that a command can be resumed in it.

The log has one line of JSON for each row that has ended. With the lock, one process at a time works
in the folder, or one for each shard of its rows.
"""

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jaxnst._files import destination, name_of, reason
from jaxnst.cli.errors import UsageError
from jaxnst.cli.logs import json_line
from jaxnst.cli.manifest import Row

NAME = "results.jsonl"

LOCK_SECONDS = 1.0
"""How long to wait for the lock: a process that is starting holds it for a moment."""

ABANDONED_SECONDS = 24 * 3600.0
"""Since a half-written file was last written to. Not every writer holds a lock, and a film can take
hours."""


class ResultsLog:
    """The log in a folder of results.

    A line is written in one call when its row has ended; a line cut short by a crash is ignored. A
    row is made again unless the log says that it is done, with the same inputs and settings, and
    its result exists.
    """

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, NAME)
        self.records: dict[str, dict[str, Any]] = {}  # in the order of their last lines
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    self._add(line)

    def _add(self, line: str) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            record = json.loads(line)
            earlier = self.records.get(record["output"])
            if earlier is not None and earlier.get("error") is None and record.get("error"):
                return  # the later run failed, so the earlier result was not replaced
            self.records.pop(record["output"], None)
            self.records[record["output"]] = record

    def has(self, row: Row, settings: str) -> bool:
        """Return whether a row was done with these settings and the inputs as they are now."""
        record = self.records.get(os.path.basename(row.output), {"error": "not in the log"})
        return (
            record.get("error") is None
            and os.path.exists(row.output)
            and record.get("settings") == settings
            and record.get("inputs", ()) == _inputs_if_readable(row)
        )

    def left(self, rows: Sequence[tuple[Row, str]], *, overwrite: bool) -> list[Row]:
        """Return the rows that are still to be made.

        Results take time, so none is replaced by one of other settings or pictures without
        ``overwrite``. A result that is missing in the log counts as this command's, stopped between
        saving and logging, if the log has other rows of the same settings.

        Raises:
          OSError: A result cannot be written.
          UsageError: A result would replace a different one; nothing has been made yet.
          ValueError: A result's name cannot be used.
        """
        left = [(row, settings) for row, settings in rows if not self.has(row, settings)]
        begun = {record.get("settings") for record in self.records.values()}
        taken = []
        for row, settings in left:
            destination(row.output)
            not_logged = os.path.basename(row.output) not in self.records and settings in begun
            # A row whose pictures cannot be read fails, and replaces nothing.
            if os.path.exists(row.output) and not not_logged and _inputs_if_readable(row):
                taken.append(row.output)
        if taken and not overwrite:
            more = f" and {len(taken) - 1} more already exist" if taken[1:] else " already exists"
            raise UsageError(
                f"{name_of(taken[0])}{more}, made from other pictures or with other settings: "
                "choose another folder, or add --overwrite to replace them"
            )
        return [row for row, _ in left]

    def lanes(self, rows: Iterable[tuple[Row, str]]) -> int | None:
        """Return how many lanes the batches of these rows last had; None if none was painted.

        The rows are all that run in one program, each with its settings. Batches formed of more or
        fewer rows do not count, since rows had other lanes in them.
        """
        settings = {os.path.basename(row.output): setting for row, setting in rows}
        for name, record in reversed(self.records.items()):
            lanes = record.get("lanes")
            same = record.get("settings") == settings.get(name, "")
            if same and isinstance(lanes, int) and record.get("rows") == len(settings):
                return max(1, lanes)
        return None

    def threads(self, outputs: Iterable[str]) -> set[int]:
        """Return the numbers of CPU threads on which results were painted."""
        counts = (self.records.get(os.path.basename(name), {}).get("threads") for name in outputs)
        return {count for count in counts if isinstance(count, int)}

    def write(self, row: Row, settings: str, **facts: Any) -> None:
        """Add a line.

        Raises:
          OSError: If it cannot be written.
        """
        record = {
            "output": os.path.basename(row.output),
            "content": os.path.basename(row.content),
            "styles": [os.path.basename(style) for style in row.styles],
            "settings": settings,
            **facts,
        }
        try:
            self._append((json_line(record) + "\n").encode())
        except OSError as error:
            raise type(error)(
                f"{name_of(self.path)} could not be written ({reason(error)}): free some space, "
                "and run the same command again"
            ) from error

    def _append(self, line: bytes) -> None:
        # One write to the end of the file: lines of two processes do not mix.
        with open(self.path, "a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if size and file.read(1) != b"\n":  # the last line was cut short
                line = b"\n" + line
            written = file.write(line)
            if written < len(line):  # the disk is full, and has half a line
                end = file.tell()
                if os.fstat(file.fileno()).st_size == end:
                    file.truncate(end - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def inputs(row: Row) -> list[str]:
    """Return the SHA-256 digests of a row's pictures, content first.

    Raises:
      OSError: If one cannot be read.
    """
    return [digest_of_file(path) for path in (row.content, *row.styles)]


def _inputs_if_readable(row: Row) -> list[str] | None:
    try:
        return inputs(row)
    except OSError:
        return None


def digest_of_settings(settings: object) -> str:
    """Return a short digest of all that decides a result beside its inputs, by its ``repr``."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]


def digest_of_file(path: str) -> str:
    """Return the SHA-256 digest of a file; one that has not changed is read once.

    Raises:
      OSError: If it cannot be read.
    """
    return _digest(path, os.stat(path).st_mtime_ns)


@cache
def _digest(path: str, _: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: str | Path, busy: OSError) -> Iterator[None]:
    """Hold a lock of the operating system, which ends with the process; the file only names it.

    Raises:
      OSError: ``busy``, if another process holds it.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise busy from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps what is open
            os.unlink(path)
        lock.release()


@contextlib.contextmanager
def lock_folder(folder: str, shard: tuple[int, int]) -> Iterator[None]:
    """Keep other processes from the same rows of a folder of results, which must exist.

    If no other process is at work, files that a killed one left half-written a day or more ago are
    deleted. Shards ``(I, N)`` of the same N have no rows in common.

    Raises:
      OSError: Another process is at work on some of them, or the folder cannot be written to.
    """
    path = Path(folder) / f".jaxnst-{shard[0]}-of-{shard[1]}.lock"
    busy = OSError(
        f"another process is using {name_of(folder)}: wait for it, choose another folder, or "
        "divide the rows of jaxnst batch with --shard I/N"
    )
    with locked(path, busy):
        locks = Path(folder).glob(".jaxnst-*-of-*.lock")
        others = [other.name for other in locks if other != path and _is_held(other)]
        if not all(name.endswith(f"-of-{shard[1]}.lock") for name in others):
            raise busy
        for half_written in [] if others else Path(folder).glob(".jaxnst-*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - half_written.stat().st_mtime > ABANDONED_SECONDS:
                    half_written.unlink()
        yield


def _is_held(path: Path) -> bool:
    """Return whether a process holds a lock; the lock of a process that has ended is free."""
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
