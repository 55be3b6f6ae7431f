"""How a command ends: its result is saved, and its path is printed."""

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from jaxnst._files import name_of
from jaxnst.cli.errors import explain
from jaxnst.cli.fetching import STREAM
from jaxnst.image import save_image
from jaxnst.srgb import Pixels

FORMAT = "png"
"""Of a picture on standard output, unless said otherwise."""


def print_path(path: str) -> None:
    """Print where a result is."""
    # A name that is no valid text comes out as the bytes that it is.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    print(path, flush=True)


def save_picture(path: str, image: Pixels) -> None:
    """Save the result; if that fails, rather elsewhere than not at all.

    Raises:
      OSError: It could not be saved where it should; the message says where it is instead.
    """
    try:
        save_image(path, image)
    except OSError as error:
        refuge = Path(tempfile.mkdtemp(prefix="jaxnst-")) / Path(path).name
        try:
            save_image(refuge, image)
        except OSError:
            refuge.parent.rmdir()
            raise error from None
        raise OSError(f"{explain(error)}; the picture is in {name_of(refuge)}") from error


def hand_over(flags: argparse.Namespace, image: Pixels) -> None:
    """Save the result where the flags say and print its path, or write it to standard output.

    Raises:
      OSError: As :func:`save_picture`.
    """
    if flags.output == STREAM:
        _write_out(image, flags.format or FORMAT)
    else:
        save_picture(flags.output, image)
        print_path(flags.output)


def _write_out(image: Pixels, kind: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="jaxnst-"))
    path = folder / f"picture.{kind}"
    try:
        save_image(path, image)
        sys.stdout.buffer.write(path.read_bytes())
        sys.stdout.buffer.flush()
    except OSError as error:
        with contextlib.suppress(OSError):  # what is left in the buffer goes nowhere, silently
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if path.exists():
            where = f"; the picture is in {name_of(path)}"
        else:
            where = ""
            folder.rmdir()
        raise OSError(f"standard output cannot be written ({explain(error)}){where}") from error
    shutil.rmtree(folder, ignore_errors=True)
