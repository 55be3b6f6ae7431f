"""``jaxnst cache``: what is kept between runs, compiled programs and checkpoints."""

import contextlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jaxnst._checks import counted
from jaxnst._files import name_of, user_folder
from jaxnst.cli.errors import UsageError, guarded
from jaxnst.cli.flags import MachineFlags, Parser, add_fields
from jaxnst.cli.messages import amount

CHOSEN = "JAX_COMPILATION_CACHE_DIR"
"""Variable of JAX that names a folder of the user's choice for compiled programs."""

MOST_BYTES = 2 * 2**30
"""Largest size of all checkpoints together; the oldest are deleted beyond it."""

DESCRIPTION = "Show the folder of compiled programs and checkpoints and its size, or empty it."


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = Parser(prog=prog, description=DESCRIPTION)
    parser.add_argument(
        "action",
        nargs="?",
        choices=("show", "clear"),
        default="show",
        help="show: print the folder and its size; clear: delete compiled programs, which the next "
        "runs compile again (default: show)",
    )
    parser.add_argument(
        "--checkpoints",
        action="store_true",
        help="with clear: delete the checkpoints too, from which jaxnst run --resume continues",
    )
    add_fields(parser, MachineFlags, ["debug"])
    flags = parser.read(arguments)
    if flags.checkpoints and flags.action != "clear":
        parser.error("--checkpoints is for clear")
    work = partial(_clear, checkpoints=flags.checkpoints) if flags.action == "clear" else _show
    return guarded(prog, work, debug=flags.debug)


def checkpoint_path(digest: str) -> Path:
    """Return where the checkpoint of a run is kept, by the digest of its settings.

    Raises:
      FileNotFoundError: The user has no home folder.
    """
    return _checkpoint_folder() / f"{digest[:16]}.ck"


def discard_oldest(newest: str) -> None:
    """Delete the oldest checkpoints, but not the newest, until all take MOST_BYTES at most."""
    files = sorted(_files(_checkpoint_folder()), key=lambda file: file[1].st_mtime_ns)
    count = _bytes_of(files)
    for path, status in files:
        if count > MOST_BYTES and str(path) != newest:
            path.unlink(missing_ok=True)
            count -= status.st_size


def describe_cache() -> str:
    """Return the cache folder and its size.

    Raises:
      FileNotFoundError: The user has no home folder.
    """
    folder = Path(os.environ.get(CHOSEN) or user_folder("cache"))
    programs, checkpoints = _programs_and_checkpoints(folder)
    text = f"{name_of(folder)}, {amount(_bytes_of(programs))}"
    return text + (f"; {_counted(checkpoints)}" if checkpoints else "")


_File = tuple[Path, os.stat_result]


def _checkpoint_folder() -> Path:
    return user_folder("cache") / "checkpoints"


def _programs_and_checkpoints(folder: Path) -> tuple[list[_File], list[_File]]:
    """List the files of a folder apart from checkpoints, and the checkpoints that are kept."""
    checkpoints: list[_File] = []
    with contextlib.suppress(FileNotFoundError):  # the user has no home folder
        checkpoints = _files(_checkpoint_folder())
    kept = {path for path, _ in checkpoints}
    return [file for file in _files(folder) if file[0] not in kept], checkpoints


def _files(folder: Path) -> list[_File]:
    """List all files in a folder and the folders in it."""
    files = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another process has just deleted it
            if path.is_symlink() or path.is_file():
                files.append((path, path.lstat()))
    return files


def _bytes_of(files: Sequence[_File]) -> int:
    return sum(status.st_size for _, status in files)


def _counted(checkpoints: Sequence[_File]) -> str:
    return f"{counted(len(checkpoints), 'checkpoint')}, {amount(_bytes_of(checkpoints))}"


def _show() -> int:
    print(describe_cache())
    return 0


def _clear(*, checkpoints: bool) -> int:
    folder = os.environ.get(CHOSEN)
    if folder and not checkpoints:
        raise UsageError(f"{CHOSEN} names the folder {name_of(folder)}: empty it yourself")
    # Folders stay: another process may be about to write to them.
    files, kept = _programs_and_checkpoints(user_folder("cache"))
    if checkpoints:
        files, kept = ([] if folder else files) + kept, []
    for path, _ in files:
        path.unlink(missing_ok=True)
    left = f"; kept {_counted(kept)} (--checkpoints deletes them too)" if kept else ""
    print(f"deleted {counted(len(files), 'file')}, {amount(_bytes_of(files))}{left}")
    return 0
