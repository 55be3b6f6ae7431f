"""The command line: ``jaxnst`` and its commands.

The only package that prints, reads flags, handles signals, changes JAX's settings and exits. A
command is a row of :data:`COMMANDS` and a module of its name with ``main(arguments, prog) -> int``,
which is imported when the command is called: ``jaxnst --help`` imports no other.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from jaxnst._checks import unknown
from jaxnst._version import __version__
from jaxnst.cli.errors import USAGE, print_error
from jaxnst.cli.messages import printing


class Command(NamedTuple):
    """A command: its name, and what it does in a few words."""

    name: str
    summary: str

    @property
    def module(self) -> str:
        """The module that does it."""
        return f"jaxnst.cli.{self.name}"


COMMANDS = (
    Command("run", "paint a picture in the manner of others"),
    Command("instant", "paint pictures in one pass, a second each"),
    Command("batch", "paint folders of pictures, or the rows of a manifest"),
    Command("apply", "paint pictures and films by a network of one style"),
    Command("sweep", "paint one pair in many variations, on one sheet"),
    Command("reconstruct", "show what each layer of a network keeps of a picture"),
    Command("train", "train a network that paints in the manner of one picture"),
    Command("show", "print how a picture was made"),
    Command("weights", "list, download, convert and check parameter files"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``jaxnst COMMAND ...`` and return its exit status."""
    with printing("jaxnst"):
        return _main(list(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: list[str]) -> int:
    if arguments and not arguments[0].startswith("-"):
        for command in COMMANDS:
            if command.name == arguments[0]:
                return _call(command, arguments[1:], f"jaxnst {command.name}")
        names = [command.name for command in COMMANDS]
        return print_error("jaxnst", unknown("command", arguments[0], names), USAGE)
    width = max(len(command.name) for command in COMMANDS)
    parser = argparse.ArgumentParser(
        prog="jaxnst",
        usage="jaxnst COMMAND ...",
        description="Neural style transfer in JAX.",
        epilog="commands:\n"
        + "\n".join(f"  {c.name:<{width}}  {c.summary}" for c in COMMANDS)
        + "\n\njaxnst COMMAND --help tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"jaxnst {__version__}")
    parser.parse_args(arguments)  # --help and --version end here
    return print_error("jaxnst", "no command given: jaxnst --help lists them", USAGE)


def main_run(arguments: Sequence[str] | None = None) -> int:
    """Run ``jaxnst-run ...``, which is ``jaxnst run ...``, and return its exit status."""
    with printing("jaxnst-run"):
        given = list(sys.argv[1:] if arguments is None else arguments)
        return _call(COMMANDS[0], given, "jaxnst-run")


def _call(command: Command, arguments: list[str], prog: str) -> int:
    status: int = importlib.import_module(command.module).main(arguments, prog)
    return status
