"""The door for outputs: each can be written, and none is another's, nor one of the inputs."""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Sequence

from jaxnst import _files
from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError
from jaxnst.cli.fetching import STREAM
from jaxnst.cli.messages import Messages
from jaxnst.cli.saving import check_format, result_name
from jaxnst.image import check_output
from jaxnst.report.animation import check_animation
from jaxnst.report.plot import check_plot

BESIDE: dict[str, Callable[[str], None]] = {
    "log": _files.check_writable,
    "plot": check_plot,
    "animate": check_animation,
    "side_by_side": check_output,
    "checkpoint": _files.check_writable,
}
"""Flags that name what is written beside the picture, and who checks each."""

OTHER = "use another name"


def check_outputs(flags: argparse.Namespace, sources: Sequence[str], evaluations: int) -> None:
    """Refuse outputs that cannot be written or that meet.

    Args:
      flags: Of the command.
      sources: All files that it reads.
      evaluations: Of the run, after which pictures of --save-every are named.

    Raises:
      UsageError: Two are the same file, one is an input, a library is missing, or a flag is for
        another output.
      OSError: A file cannot be written.
      ValueError: A file has an ending that is not known.
    """
    _check_stream(flags)
    if flags.animate_every and not flags.animate:
        raise UsageError("--animate-every is for an animation: --animate FILE")
    if name := result_name(flags):
        check_format(name, flags)
    if flags.checkpoint_every is not None and not flags.checkpoint:
        raise UsageError("--checkpoint-every is for a checkpoint: --checkpoint FILE")
    named = [] if flags.output in (None, STREAM) else [("-o", flags.output)]
    for _, output in named:
        check_output(output)
    named += check_beside(flags)
    refuse_meeting(named, sources)
    if flags.save_every and flags.output is not None:
        for count in (flags.save_every, evaluations):
            _files.destination(numbered(flags.output, count))
        files = [("a file given", source) for source in sources]
        _check_numbered(flags, files + [(f"the file of {flag}", path) for flag, path in named])


def check_beside(
    flags: argparse.Namespace, names: Collection[str] = tuple(BESIDE)
) -> list[tuple[str, str]]:
    """Refuse files beside the result that cannot be written.

    Args:
      flags: Of the command.
      names: Those of :data:`BESIDE` that it has.

    Returns:
      The flags that were given, with the file of each.

    Raises:
      UsageError: A library is missing, or a file is to be standard output.
      OSError: As :func:`check_outputs`.
      ValueError: As there.
    """
    named = []
    for name in names:
        if path := getattr(flags, name):
            flag = f"--{name.replace('_', '-')}"
            refuse_stream(flag, path)
            named.append((flag, path))
            try:
                BESIDE[name](path)
            except ModuleNotFoundError as error:
                raise UsageError(f"{flag}: {error}") from error
    return named


def refuse_stream(flag: str, path: str) -> None:
    """Refuse standard output where a file is expected."""
    if path == STREAM:
        raise UsageError(f"{flag} -: nothing but a picture goes to standard output: {OTHER}")


def refuse_meeting(named: Sequence[tuple[str, str]], sources: Sequence[str]) -> None:
    """Refuse outputs that meet.

    Args:
      named: What names each, such as its flag, and its path.
      sources: All files that are read.

    Raises:
      UsageError: Two are the same file, or one is an input.
    """
    for i, (flag, path) in enumerate(named):
        if any(same_file(path, source) for source in sources):
            raise UsageError(f"{flag} {name_of(path)} would overwrite a file given: {OTHER}")
        for other, taken in named[:i]:
            if same_file(path, taken):
                raise UsageError(f"{flag} {name_of(path)} is the file of {other} too: {OTHER}")


def is_taken(path: str) -> bool:
    """Say whether there is anything of value by the name of an output."""
    return os.path.isfile(path) and os.path.getsize(path) > 0


def tell_of_replacing(path: str, flags: argparse.Namespace, messages: Messages) -> None:
    """Give notice that the one result that a command names is there already.

    It is replaced when the new one is finished, as by any program that writes a picture. What takes
    longer, and is not named one by one, is replaced with ``--overwrite`` only: networks, results in
    a folder, checkpoints.
    """
    if path != STREAM and is_taken(path) and not getattr(flags, "overwrite", False):
        messages.notice(f"{name_of(path)} is there already, and is replaced at the end")


def _check_numbered(flags: argparse.Namespace, files: Sequence[tuple[str, str]]) -> None:
    """Refuse files, with what each is, that a picture of --save-every could overwrite."""
    for what, path in files:
        if may_be_numbered(path, flags.output):
            first = name_of(numbered(flags.output, flags.save_every))
            raise UsageError(
                f"--save-every could overwrite {name_of(path)}, {what}, since it names pictures "
                f"{first} and so on: {OTHER}"
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
    """Say whether a path is one that :func:`numbered` makes of an output, for whatever number.

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


def _check_stream(flags: argparse.Namespace) -> None:
    """Refuse what does not go together with a picture on standard output, or without."""
    if flags.output != STREAM:
        if flags.format is not None:
            raise UsageError("--format is for -o -: otherwise the ending of OUT says the format")
        return
    if flags.save_every:
        raise UsageError("--save-every names pictures after OUT, and -o - has no name: give one")
    if not flags.dry_run and (sys.stdout is None or sys.stdout.isatty()):
        raise UsageError("-o - writes a picture to standard output, not to a terminal: redirect it")


def same_file(one: str, other: str) -> bool:
    """Say whether two paths are, or will be, one file."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)
