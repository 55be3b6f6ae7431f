"""One process at a time in a folder of results, or one for each shard of it."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from jaxnst._files import name_of

PATIENCE = 1.0
"""Seconds to wait for a lock: others that start now hold it for a moment while they look."""

LOCK = re.compile(r"\.jaxnst-(\d+)-of-(\d+)\.lock")
LEFT = ".jaxnst-*.tmp"
"""Files that are being written, or that a process was writing when it was killed."""

OLD = 24 * 3600.0
"""Seconds after which a half-written file counts as abandoned. Not every writer holds a lock, and a
single film can take hours."""


@contextlib.contextmanager
def alone_in(folder: str, shard: tuple[int, int]) -> Iterator[None]:
    """Keep other processes from the same rows of a folder of results.

    The lock belongs to the operating system and ends with the process; the file only gives it a
    name. A process that finds no other at work also deletes what a killed one left half-written a
    day or more ago.

    Args:
      folder: It must be there.
      shard: Which rows, ``(I, N)``: shards of one N have none in common.

    Raises:
      OSError: Another process is at work on some of them, or the folder cannot be written to.
    """
    own = Path(folder) / f".jaxnst-{shard[0]}-of-{shard[1]}.lock"
    lock = FileLock(own)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise OSError(_busy(folder)) from None
    try:
        others = [path for path in Path(folder).glob(".jaxnst-*.lock") if _is_held(path, own)]
        if any(_count(path) != shard[1] for path in others):
            raise OSError(_busy(folder))
        if not others:
            for path in Path(folder).glob(LEFT):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > OLD:
                        path.unlink()
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps what is open
            own.unlink()
        lock.release()


def _count(path: Path) -> int:
    """Return N, the number of shards, from the name of a lock."""
    found = LOCK.fullmatch(path.name)
    return int(found[2]) if found else 0


def _is_held(path: Path, own: Path) -> bool:
    """Tell whether another process holds a lock; that of a dead process is free."""
    if path == own or not LOCK.fullmatch(path.name):
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _busy(folder: str) -> str:
    return (
        f"another process is at work in {name_of(os.fspath(folder))}: wait for it, choose another "
        "folder, or divide the rows of jaxnst batch by --shard I/N"
    )
