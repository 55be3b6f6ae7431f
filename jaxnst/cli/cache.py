"""``jaxnst cache``: the compiled programs that are kept for the next run."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from jaxnst._files import name_of, user_folder
from jaxnst.cli.errors import UsageError, guarded
from jaxnst.cli.flags import MachineFlags, Parser, add_fields
from jaxnst.cli.messages import amount

CHOSEN = "JAX_COMPILATION_CACHE_DIR"
"""Variable of JAX that names a folder of the user's choice."""

DESCRIPTION = "Show the folder of compiled programs and its size, or empty it."


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = Parser(prog=prog, description=DESCRIPTION)
    parser.add_argument(
        "action",
        nargs="?",
        choices=("show", "clear"),
        default="show",
        help="show: print the folder and its size; clear: delete what is in it, which the next "
        "runs compile again (default: show)",
    )
    add_fields(parser, MachineFlags, ["debug"])
    flags = parser.read(arguments)
    return guarded(prog, _clear if flags.action == "clear" else _show, debug=flags.debug)


def describe_cache() -> str:
    """Return the cache folder and its size.

    Raises:
      FileNotFoundError: The user has no home folder.
    """
    folder = Path(os.environ.get(CHOSEN) or user_folder("cache"))
    return f"{name_of(folder)}, {amount(sum(size for _, size in _files(folder)))}"


def _files(folder: Path) -> list[tuple[Path, int]]:
    """List all files in a folder and the folders in it, with their sizes in bytes."""
    files = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another process has just deleted it
            if path.is_symlink() or path.is_file():
                files.append((path, path.lstat().st_size))
    return files


def _show() -> int:
    print(describe_cache())
    return 0


def _clear() -> int:
    if folder := os.environ.get(CHOSEN):
        raise UsageError(f"{CHOSEN} names the folder {name_of(folder)}: empty it yourself")
    # Folders stay: another process may be about to write to them.
    files = _files(user_folder("cache"))
    for path, _ in files:
        path.unlink(missing_ok=True)
    print(f"deleted {len(files)} files, {amount(sum(size for _, size in files))}")
    return 0
