"""How a command ends: its result is saved, and its path is printed."""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError, explain, silence
from jaxnst.cli.fetching import STREAM
from jaxnst.cli.messages import print_path
from jaxnst.image import check_deep, holds_quality, save_image
from jaxnst.image.color import Pixels
from jaxnst.image.record import Record

FORMAT = "png"
"""Of a picture on standard output, unless said otherwise."""

QUALITY = 95
"""Of JPEG and WebP, where none is asked for."""

SHORT = 40
"""Characters of a name that no file system refuses as too long."""


def result_name(flags: argparse.Namespace) -> str | None:
    """Return a name with the ending of the result's format, also for standard output."""
    output: str | None = flags.output
    return f"picture.{flags.format or FORMAT}" if output == STREAM else output


def check_format(path: str, flags: argparse.Namespace) -> None:
    """Refuse flags that are for other formats than that of a result.

    Raises:
      UsageError: A flag is for other formats.
      ValueError: The format is unknown, or a library that writes it so is not installed.
    """
    if flags.bits == 16:
        check_deep(path)
    if flags.quality is not None and not holds_quality(path):
        raise UsageError(f"--quality is for JPEG and WebP: leave it out for {name_of(path)}")


def save_options(flags: argparse.Namespace) -> dict[str, Any]:
    """Return what the flags say of a file, for :func:`jaxnst.image.save_image`."""
    quality = QUALITY if flags.quality is None else flags.quality
    return {"bits": flags.bits, "dpi": flags.dpi, "quality": quality}


def save_picture(path: str, image: Pixels, **options: Any) -> None:
    """Save the result; if that fails, rather elsewhere than not at all.

    Args:
      path: Where to.
      image: The result.
      options: Of :func:`jaxnst.image.save_image`.

    Raises:
      OSError: It could not be saved where it should, or as it should; the message says where it is
        instead.
      ValueError: It is none that any file holds.
    """
    try:
        save_image(path, image, **options)
    except OSError as error:
        keep_elsewhere(error, path, lambda refuge: save_image(refuge, image, **options))
    except ValueError as error:  # what one format cannot hold, another can
        options["bits"], path = 8, os.path.splitext(path)[0] + ".png"
        keep_elsewhere(error, path, lambda refuge: save_image(refuge, image, **options))


def keep_elsewhere(
    error: OSError | ValueError,
    path: str,
    save: Callable[[Path], object],
    *,
    what: str = "picture",
) -> NoReturn:
    """Save in a temporary folder what could not be saved where it should.

    Args:
      error: What went wrong there.
      path: Where it should have gone; the copy has the same name, shortened to 40 characters.
      save: Saves it under a path.
      what: What is saved, for the message.

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
    """Make a folder that nobody else looks into; unless it is filled, it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="jaxnst-"))
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # it is filled
            folder.rmdir()


def hand_over(
    flags: argparse.Namespace,
    image: Pixels,
    *,
    record: Record | None = None,
    output: str | None = None,
) -> None:
    """Save the result where the flags say and print its path, or write it to standard output.

    Args:
      flags: Of the command.
      image: The result.
      record: How it was made, if its file is to say so.
      output: Where to, if it is not where the flags say.

    Raises:
      OSError: As :func:`save_picture`, or standard output cannot be written.
      ValueError: As there.
    """
    if flags.output == STREAM:
        _write_out(image, flags.format or FORMAT, record=record, **save_options(flags))
    else:
        output = output or flags.output
        save_picture(output, image, record=record, **save_options(flags))
        print_path(output)


def _write_out(image: Pixels, kind: str, **options: Any) -> None:
    with _folder() as folder:
        path = folder / f"picture.{kind}"
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
