"""How a command ends: its result is saved, and its path is printed."""

import io
import sys
import tempfile
from pathlib import Path

from jaxnst._files import name_of
from jaxnst.cli.errors import explain
from jaxnst.image import save_image
from jaxnst.srgb import Pixels


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
