"""Outputs: checked before any work, so that none overwrites an input or another; saved at the end.

A result that cannot be saved where it should is saved elsewhere, rather than lost.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jaxnst import _files
from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError, explain, silence
from jaxnst.cli.fetching import STREAM, shown
from jaxnst.cli.flags import FileFlags
from jaxnst.cli.messages import Messages
from jaxnst.cli.parser import RunFlags
from jaxnst.image import check_deep, check_output, holds, save_image
from jaxnst.image.color import Pixels
from jaxnst.image.record import Record
from jaxnst.report.animation import check_animation
from jaxnst.report.plot import check_plot

FORMAT = "png"
"""Format of a picture on standard output, unless ``--format`` is given."""

QUALITY = 95
"""Quality of JPEG, WebP and AVIF, unless ``--quality`` is given."""

SHORT = 40
"""Characters of a name that no file system refuses as too long."""

BESIDE: dict[str, Callable[[str], None]] = {
    "preview": check_output,
    "log": _files.check_writable,
    "plot": check_plot,
    "animate": check_animation,
    "side_by_side": check_output,
    "checkpoint": _files.check_writable,
}
"""Flags that name what is written beside the picture, with the check of each."""

OTHER = "use another name"


def check_outputs(flags: RunFlags, sources: Sequence[str], evaluations: int) -> None:
    """Refuse outputs that cannot be written, that are inputs, or that are the same file.

    ``sources`` lists all files that the command reads, ``evaluations`` is how many the run has.

    Raises:
      UsageError: Two are the same file, one is an input, a library is missing, or a flag is for
        another output.
      OSError: A file cannot be written.
      ValueError: A file has an unknown ending.
    """
    if flags.output != STREAM:
        if flags.format is not None:
            raise UsageError("--format is for -o -: otherwise the extension of OUT sets the format")
    elif flags.save_every:
        raise UsageError("--save-every names pictures after OUT: give -o a file name instead of -")
    elif not flags.dry_run and (sys.stdout is None or sys.stdout.isatty()):
        raise UsageError(
            "-o - does not write a picture to a terminal: redirect it to a file or program"
        )
    if flags.json and flags.output == STREAM:
        raise UsageError("--json and -o - both write to standard output: give -o a file name")
    if flags.animate_every and not flags.animate:
        raise UsageError("--animate-every needs --animate FILE")
    if name := result_name(flags.output, flags.format):
        check_format(name, flags)
    if flags.checkpoint_every is not None and not flags.checkpoint:
        raise UsageError("--checkpoint-every needs --checkpoint FILE")
    if flags.resume and flags.no_cache and not flags.checkpoint:
        raise UsageError("--resume needs the cache folder: leave out --no-cache")
    named = []
    for name, check in BESIDE.items():
        if path := getattr(flags, name):
            flag = f"--{name.replace('_', '-')}"
            if (name, path) == ("preview", STREAM):
                from jaxnst.cli.terminal import check_terminal

                check_terminal()
                continue
            refuse_stream(flag, path)
            named.append((flag, path))
            try:
                check(path)
            except ModuleNotFoundError as error:
                raise UsageError(f"{flag}: {error}") from error
    if flags.output not in ("", STREAM):
        check_output(flags.output)
        named.insert(0, ("-o", flags.output))
    refuse_meeting(named, sources)
    if flags.save_every and flags.output:
        for count in (flags.save_every, evaluations):
            _files.destination(numbered(flags.output, count))
        files = [("an input", source) for source in sources]
        for what, path in files + [(f"the file of {flag}", path) for flag, path in named]:
            if may_be_numbered(path, flags.output):
                first = name_of(numbered(flags.output, flags.save_every))
                raise UsageError(
                    f"--save-every could overwrite {name_of(path)}, {what}, since it names "
                    f"pictures {first} and so on: {OTHER}"
                )


def check_format(path: str, flags: FileFlags) -> None:
    """Refuse flags that are for other formats than that of a result.

    Raises:
      UsageError: A flag is for other formats.
      ValueError: The format is unknown, or a library that writes it so is not installed.
    """
    if flags.bits == 16:
        check_deep(path)
    if flags.quality is not None and not holds(path, "quality"):
        raise UsageError(f"--quality is for JPEG, WebP and AVIF: leave it out for {name_of(path)}")


def refuse_stream(flag: str, path: str) -> None:
    """Refuse standard output where a file is expected."""
    if path == STREAM:
        raise UsageError(f"{flag} -: only the picture can go to standard output: {OTHER}")


def refuse_meeting(named: Sequence[tuple[str, str]], sources: Sequence[str]) -> None:
    """Refuse outputs that are inputs, or the same file; ``named`` also has what names each of them.

    Raises:
      UsageError: Two are the same file, or one is an input.
    """
    for i, (flag, path) in enumerate(named):
        if any(same_file(path, source) for source in sources):
            raise UsageError(f"{flag} {name_of(path)} would overwrite an input: {OTHER}")
        for other, taken in named[:i]:
            if same_file(path, taken):
                raise UsageError(f"{flag} {name_of(path)} is also the file of {other}: {OTHER}")


def same_file(one: str, other: str) -> bool:
    """Return whether two paths are, or will be, one file."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)


def is_taken(path: str) -> bool:
    """Return whether an output's name is that of a file that is not empty."""
    return os.path.isfile(path) and os.path.getsize(path) > 0


def report_replacing(paths: Sequence[str], flags: object, messages: Messages) -> None:
    """Give notice of the results that a command names one by one and that already exist.

    Each is replaced when the new one is finished, as by any program that writes a picture. What
    takes longer, and is not named one by one, is replaced with ``--overwrite`` only: networks,
    results in a folder, checkpoints.
    """
    taken = [path for path in paths if path != STREAM and is_taken(path)]
    if taken and not getattr(flags, "overwrite", False):
        more, exist = (f" and {len(taken) - 1} more", "exist") if taken[1:] else ("", "exists")
        first = name_of(taken[0])
        messages.notice(f"{first}{more} already {exist} and will be replaced")


def report_transparency(picture: Pixels, source: str, output: str, messages: Messages) -> None:
    """Give notice of a transparent picture whose result, if it has a name, cannot be that."""
    if picture.shape[2] == 4 and output and not holds(output, "alpha"):
        messages.notice(
            f"{shown(source)} is transparent, which {shown(output)} cannot be: the result gets a "
            "white background; .png, .webp and .tif keep transparency"
        )


def numbered(path: str, count: int) -> str:
    """Put a number before the ending.

    Example:
      >>> numbered("folder/out.png", 50)
      'folder/out-0050.png'
    """
    stem, ending = os.path.splitext(path)
    return f"{stem}-{count:04d}{ending}"


def may_be_numbered(path: str, output: str) -> bool:
    """Return whether a path is one that :func:`numbered` makes of an output, for any number.

    Example:
      >>> may_be_numbered("./out-0050.png", "out.png"), may_be_numbered("out-1.png", "out.png")
      (True, False)
    """
    stem, ending = os.path.splitext(os.path.basename(output))
    for name in map(os.path.basename, (path, os.path.realpath(path))):
        number = name.removeprefix(f"{stem}-").removesuffix(ending)
        if number.isdecimal() and same_file(path, numbered(output, int(number))):
            return True
    return False


def result_name(output: str, format: str | None) -> str:
    """Return a name with the ending of the result's format, also for standard output."""
    return f"picture.{format or FORMAT}" if output == STREAM else output


def save_options(flags: FileFlags) -> dict[str, Any]:
    """Return what the flags say of a file, for :func:`jaxnst.image.save_image`."""
    quality = QUALITY if flags.quality is None else flags.quality
    return {"bits": flags.bits, "dpi": flags.dpi, "quality": quality}


def hand_over(
    flags: RunFlags,
    image: Pixels,
    messages: Messages,
    *,
    record: Record | None = None,
    output: str | None = None,
    **facts: Any,
) -> None:
    """Save the result where the flags say and print its path, or write it to standard output.

    ``output`` is where to, if not where the flags say; ``facts`` go to ``--json``.

    Raises:
      OSError: It could not be saved or written; the message says where it is instead.
      ValueError: No file can hold it.
    """
    options = {"record": record, **save_options(flags)}
    if flags.output != STREAM:
        output = output or flags.output
        save_picture(output, image, **options)
        messages.saved(output, **facts)
        return
    with _folder() as folder:
        path = folder / f"picture.{flags.format or FORMAT}"
        save_picture(str(path), image, **options)
        try:
            sys.stdout.buffer.write(path.read_bytes())
            sys.stdout.buffer.flush()
        except OSError as error:
            silence(sys.stdout)
            raise OSError(
                f"standard output cannot be written ({explain(error)}); the picture is in "
                f"{name_of(path)}"
            ) from error
        path.unlink()


def save_picture(path: str, image: Pixels, **options: Any) -> None:
    """Save the result with the options of :func:`save_image`, rather elsewhere than not at all.

    Raises:
      OSError: It could not be saved there, or not in that format; the message says where it is
        instead.
      ValueError: No file can hold it.
    """
    try:
        save_image(path, image, **options)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError):  # what one format cannot hold, another can
            options["bits"], path = 8, os.path.splitext(path)[0] + ".png"
        keep_elsewhere(error, path, lambda refuge: save_image(refuge, image, **options))


def keep_elsewhere(
    error: OSError | ValueError, path: str, save: Callable[[Path], object], *, what: str = "picture"
) -> NoReturn:
    """Save in a temporary folder what could not be saved where it should.

    The copy has the name of ``path``, shortened to 40 characters; ``what`` is for the message.

    Raises:
      OSError: Names the copy; or it is ``error``, if no copy could be saved.
      ValueError: ``error``, if no copy could be saved.
    """
    stem, ending = os.path.splitext(os.path.basename(path))
    try:
        with _folder() as folder:
            refuge = folder / (stem[:SHORT] + ending)
            save(refuge)
    except (OSError, ValueError):
        raise error from None
    raise OSError(f"{explain(error)}; the {what} is in {name_of(refuge)}") from error


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Make a private folder, which is removed afterwards if it is empty."""
    folder = Path(tempfile.mkdtemp(prefix="jaxnst-"))
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()
