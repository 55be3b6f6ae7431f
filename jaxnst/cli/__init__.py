"""The command line: ``jaxnst`` and its commands.

The only package that prints, reads flags, handles signals, changes JAX's settings and exits. A
command is a row of :data:`COMMANDS` and a module of its name with ``main(arguments, prog) -> int``,
which is imported when the command is called: ``jaxnst --help`` imports no other.
"""

import argparse
import importlib
import os
import shlex
import sys
from collections.abc import Sequence

from jaxnst._checks import unknown
from jaxnst._version import __version__
from jaxnst.cli.errors import USAGE, print_error
from jaxnst.cli.help import COMMAND_WORDS, COMPLETING
from jaxnst.cli.messages import printing

COMMANDS = {
    "run": "paint a picture in the manner of one or more others",
    "instant": "paint pictures in one pass, a second each",
    "studio": "paint on a page in the browser, and change the picture meanwhile",
    "batch": "paint folders of pictures, or the rows of a manifest",
    "apply": "paint pictures and films with a network trained for one style",
    "sweep": "paint a picture in many variations, on one labeled sheet",
    "reconstruct": "show what the layers of a network keep of a picture",
    "train": "train a network to paint in the manner of one picture",
    "show": "print how a picture was made",
    "weights": "list, download, convert and check parameter files",
    "info": "print versions, devices, memory and the size of the cache",
    "cache": "show or clear the files kept between runs",
}
"""What each command does, by its name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``jaxnst COMMAND ...`` and return its exit status."""
    with printing("jaxnst"):
        return _main(list(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: list[str]) -> int:
    if COMPLETING in os.environ:
        arguments = _command_to_complete()
    if arguments == ["help", "tips"]:
        arguments = ["run", "--tips"]
    elif arguments[:1] == ["help"]:
        arguments = [*(word for word in arguments if word != "help"), "--help"]
    if arguments and not arguments[0].startswith("-"):
        if arguments[0] in COMMANDS:
            return _call(arguments[0], arguments[1:], f"jaxnst {arguments[0]}")
        return print_error("jaxnst", _unknown(arguments), USAGE)
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog="jaxnst",
        usage="jaxnst COMMAND ...",
        description="Neural style transfer in JAX: a photograph in the manner of a painting.\n\n"
        "  jaxnst run photo.jpg painting.jpg -o out.png\n\ncommands:\n"
        + "\n".join(f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()),
        epilog="jaxnst COMMAND -h shows examples and the most common flags of a command,\n"
        "jaxnst COMMAND --help all of its flags. To complete commands and flags with the\n"
        "Tab key: pip install 'jaxnst[completion]', and in the shell's start-up file\n"
        """eval "$(register-python-argcomplete jaxnst jaxnst-run)\"""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help="show this help")
    version = f"jaxnst {__version__}"
    parser.add_argument("--version", action="version", version=version, help="show the version")
    if COMPLETING in os.environ:
        import argcomplete

        parser.add_argument("command", choices=list(COMMANDS))
        argcomplete.autocomplete(parser)
    _, left = parser.parse_known_args(arguments)  # --help and --version end here
    if not left:
        parser.print_help(sys.stderr)
        return USAGE
    return print_error("jaxnst", f"unknown flag {left[0]}: jaxnst -h lists the commands", USAGE)


def _command_to_complete() -> list[str]:
    """Return the command of the line that a shell asks to complete, if it is more than begun."""
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", 0))]
    _, *words = line.split(" ")
    if len(words) < 2 or words[0] not in COMMANDS:
        return []
    os.environ[COMPLETING] = "2"  # the parser of the command is to see what follows its name
    return words[:1]


def _unknown(arguments: list[str]) -> str:
    """Return what to do in place of a command that does not exist."""
    word = arguments[0]
    if os.path.isfile(word) or "." in word or "/" in word:  # a picture
        command = shlex.join(["jaxnst", "run", *arguments])
        return f"{word!r} is not a command: to paint pictures, use {command}"
    if word.lower() in COMMAND_WORDS:
        return f"unknown command {word!r}: did you mean {COMMAND_WORDS[word.lower()]!r}?"
    return unknown("command", word, COMMANDS)


def main_run(arguments: Sequence[str] | None = None) -> int:
    """Run ``jaxnst-run ...``, which is ``jaxnst run ...``, and return its exit status."""
    with printing("jaxnst-run"):
        given = list(sys.argv[1:] if arguments is None else arguments)
        return _call("run", given, "jaxnst-run")


def _call(command: str, arguments: list[str], prog: str) -> int:
    return importlib.import_module(f"jaxnst.cli.{command}").main(arguments, prog)
