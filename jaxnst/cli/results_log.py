"""What a batch has done: one line of JSON for each row, so that the batch can be resumed."""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from jaxnst._files import destination, name_of, reason
from jaxnst.cli.errors import UsageError
from jaxnst.cli.manifest import Row

NAME = "results.jsonl"


class Ledger:
    """The log in a folder of results.

    A line is written whole, in one call, when its row has ended; a line cut short by a crash is
    ignored. A row is made again unless the log says that it is done, with the same inputs and
    settings, and its picture is still there.
    """

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, NAME)
        self.done: dict[str, dict[str, Any]] = {}
        self.cut_short = False
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    self._take(line)
                    self.cut_short = not line.endswith("\n")

    def _take(self, line: str) -> None:
        try:
            record = json.loads(line)
            earlier = self.done.get(record["output"])
            if earlier is not None and earlier.get("error") is None and record.get("error"):
                return  # what failed has replaced nothing
            self.done.pop(record["output"], None)  # in the order of their last lines
            self.done[record["output"]] = record
        except (ValueError, KeyError, TypeError, RecursionError):
            return

    def has(self, row: Row, settings: str) -> bool:
        """Tell whether a row has been done, with these settings and the inputs as they are now."""
        record = self.done.get(os.path.basename(row.output))
        if record is None or record.get("error") is not None or not os.path.exists(row.output):
            return False
        same = record.get("settings") == settings and _is_readable(row)
        return same and bool(record.get("inputs") == inputs(row))

    def left(self, rows: Sequence[tuple[Row, str]], *, overwrite: bool) -> list[Row]:
        """Return the rows that are to be made.

        What is there took time, and so no other result replaces it unasked. A result without a line
        in the log is taken for one of the same command that was cut off between the two if the log
        has other rows with these settings.

        Args:
          rows: All rows, each with its settings.
          overwrite: Whether results of other settings or pictures may be replaced.

        Raises:
          OSError: A result cannot be written.
          UsageError: One would replace another; nothing has been made yet.
          ValueError: As OSError.
        """
        left = [(row, settings) for row, settings in rows if not self.has(row, settings)]
        begun = {record.get("settings") for record in self.done.values()}
        taken = []
        for row, settings in left:
            destination(row.output)
            own = os.path.basename(row.output) not in self.done and settings in begun
            if os.path.exists(row.output) and not own and _is_readable(row):
                taken.append(row.output)
        if taken and not overwrite:
            more = f" and {len(taken) - 1} more are" if len(taken) > 1 else " is"
            raise UsageError(
                f"{name_of(taken[0])}{more} there already, made of other pictures or with other "
                "settings: choose another folder, or give --overwrite to replace what differs"
            )
        return [row for row, _ in left]

    def lanes(self, rows: Iterable[tuple[Row, str]]) -> int | None:
        """Return how many lanes the batches of these rows last had; None if none was painted.

        Args:
          rows: All that run in one program, each with its settings. Batches formed of more or fewer
            rows do not count, since in them rows had other lanes.
        """
        settings = {os.path.basename(row.output): setting for row, setting in rows}
        for name, record in reversed(self.done.items()):
            lanes = record.get("lanes")
            same = record.get("settings") == settings.get(name, "")
            if same and isinstance(lanes, int) and record.get("rows") == len(settings):
                return max(1, lanes)
        return None

    def threads(self, outputs: Iterable[str]) -> set[int]:
        """Return the numbers of threads of a CPU on which results were painted."""
        found = (self.done.get(os.path.basename(name), {}).get("threads") for name in outputs)
        return {threads for threads in found if isinstance(threads, int)}

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
        line = ("\n" * self.cut_short + json.dumps(record) + "\n").encode()
        self.cut_short = False
        try:
            self._append(line)
        except OSError as error:
            raise type(error)(
                f"{name_of(self.path)} could not be written ({reason(error)}): make room; the same "
                "command goes on"
            ) from error

    def _append(self, line: bytes) -> None:
        # One write to the end of the file: lines of two processes do not mix.
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            written = os.write(handle, line)
            if written < len(line):  # the disk is full: what fitted would be half a line
                end = os.lseek(handle, 0, os.SEEK_CUR)
                if os.fstat(handle).st_size == end:
                    os.ftruncate(handle, end - written)
                else:
                    self.cut_short = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)


def inputs(row: Row) -> list[str]:
    """Return the SHA-256 digests of a row's pictures, content first.

    Raises:
      OSError: If one cannot be read.
    """
    return [digest_of_file(path) for path in (row.content, *row.styles)]


def _is_readable(row: Row) -> bool:
    """Tell whether a row's pictures can be read; else it fails alone, and replaces nothing."""
    try:
        inputs(row)
    except OSError:
        return False
    return True


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
