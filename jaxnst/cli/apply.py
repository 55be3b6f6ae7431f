"""``jaxnst apply``: pictures and films painted by a network that was trained for one style.

What is to be made of what is worked out before anything slow is imported.
"""

import argparse
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jaxnst import video as film
from jaxnst._files import name_of
from jaxnst.cli.applying import Work
from jaxnst.cli.errors import UsageError, guarded
from jaxnst.cli.flags import Parser, add_ending, add_machine, add_overwrite, add_saving, add_side
from jaxnst.cli.interrupt import GOES_ON, Stopped, leaving_when_stopped, stoppable
from jaxnst.cli.manifest import (
    Row,
    is_several,
    name_after,
    pictures,
    refuse_one_name,
    tell_of_passed_over,
)
from jaxnst.cli.messages import Messages, hush_xla
from jaxnst.cli.option_types import whole
from jaxnst.cli.outputs import refuse_meeting, same_file
from jaxnst.cli.results_log import ResultsLog, alone_in
from jaxnst.cli.saving import check_format, save_options
from jaxnst.image import ENDINGS, check_output
from jaxnst.weights import bundled_styles

KNOWN = (*ENDINGS, *film.ENDINGS)


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    flags = _parser(prog).read(arguments)
    return guarded(prog, lambda: _run(flags, prog), debug=flags.debug)


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage=f"{prog} MODEL INPUT [INPUT ...] -o FOLDER|FILE [flags]\n       {prog} --list",
        description="Paint pictures and films in the manner of the one style of a network, in one "
        "pass.",
        epilog="Exit status: 0 all done, 1 an input failed, 2 wrong flags, 130 stopped; into a "
        "folder, the same command goes on.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a file of `jaxnst train`, a state dict of pytorch/examples' fast_neural_style, or "
        "the name of one that --list shows",
    )
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="a picture, a film, a folder or a pattern"
    )
    parser.add_argument("--list", action=_List, help="list the models that ship, and exit")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="folder of the results, or the file of a single one; films become .mp4",
    )
    add_side(parser, "--size", "longest side; what is larger is reduced before (default: as it is)")
    parser.add_argument(
        "--batch",
        type=whole(1, 256),
        metavar="N",
        help="pictures of a film at a time (default: up to 4, by their size)",
    )
    add_ending(parser)
    add_overwrite(parser)
    add_saving(parser, single=False)
    add_machine(parser)
    return parser


class _List(argparse.Action):
    """Print the models that ship, and exit."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from jaxnst.weights import read_parameters

        shipped = bundled_styles()
        width = max(map(len, shipped), default=0)
        for name, path in shipped.items():
            print(f"{name:<{width}}  {read_parameters(path)[1].get('style', '')}".rstrip())
        if not shipped:
            print("no models ship with this jaxnst: `jaxnst train` makes one")
        parser.exit()


def _run(flags: argparse.Namespace, prog: str) -> int:
    sources = _sources(flags.inputs)
    messages = Messages(prog, quiet=flags.quiet)
    if _is_file(flags.output, sources):
        row = Row(sources[0], (_model(flags),), flags.output)
        check_row(row, flags)
        tell_of_passed_over(flags.inputs, messages, endings=KNOWN)
        with leaving_when_stopped(messages):
            return _work([row], None, flags, messages)
    # Or the same command would go on with its own results.
    if len(sources) > 1 or is_several(flags.inputs[0]):
        folders = {os.path.dirname(source) or os.curdir for source in sources}
        if any(same_file(folder, flags.output) for folder in folders):
            raise UsageError(f"-o {name_of(flags.output)} is a folder of inputs: name another")
    rows = _rows(sources, flags)
    tell_of_passed_over(flags.inputs, messages, endings=KNOWN)
    os.makedirs(flags.output, exist_ok=True)
    with leaving_when_stopped(messages, GOES_ON), alone_in(flags.output, (1, 1)):
        return _work(rows, ResultsLog(flags.output), flags, messages)


def _work(
    rows: list[Row], ledger: ResultsLog | None, flags: argparse.Namespace, messages: Messages
) -> int:
    """Make what is left."""
    settings = _settings(flags)
    todo = rows
    if ledger is not None:
        todo = ledger.left([(row, settings) for row in rows], overwrite=flags.overwrite)
        messages.say(f"inputs: {len(rows)}, of which there already: {len(rows) - len(todo)}")
    if not todo:
        return 0
    hush_xla(debug=flags.debug)
    work = Work(todo, settings, ledger, flags, messages)
    with messages.warnings_as_notices():
        try:
            return 1 if stoppable(work.all) else 0
        except Stopped:
            work.end()
            raise


def _sources(given: Sequence[str]) -> list[str]:
    """List the files to be painted: what folders and patterns hold, and those named, once each."""
    found: list[str] = []
    for where in given:
        if is_several(where):
            found += pictures("INPUT", where, endings=KNOWN, what="picture or film")
        else:  # if it is missing, or no picture, it costs its own row only
            found.append(where)
    return list(dict.fromkeys(found))


def _is_file(output: str, sources: Sequence[str]) -> bool:
    """Tell whether the output is a single result's own file, else a folder.

    Raises:
      UsageError: It is a file, and there are several inputs, or it is an input, or it could be
        either.
    """
    ending = Path(output).suffix.lower()
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        return False
    if output == "-":
        raise UsageError("-o - is no folder or file: results of apply do not go to standard output")
    known = ending in KNOWN
    if len(sources) > 1 and (known or os.path.exists(output)):
        raise UsageError(
            f"-o {name_of(output)} is a file, but there are {len(sources)} inputs: name a folder"
        )
    refuse_meeting([("-o", output)], sources)
    if len(sources) == 1 and ending and not known and not os.path.exists(output):
        raise UsageError(
            f"-o {name_of(output)} has the ending {ending}, expected one of {', '.join(KNOWN)}: if "
            f"it is to be a folder, say {name_of(output)}/"
        )
    return len(sources) == 1 and (known or os.path.exists(output))


def _rows(sources: Sequence[str], flags: argparse.Namespace) -> list[Row]:
    """Name the results in a folder after inputs and model.

    Raises:
      UsageError: Two results would have one name, or a flag is for other formats.
    """
    model = _model(flags)
    rows = []
    for source in sources:
        ending = film.ENDING if is_film(source) else flags.ending
        name = name_after((source, model), ending)
        rows.append(Row(source, (model,), os.path.join(flags.output, name)))
    refuse_one_name(rows, "give them in two commands, with two folders")
    for row in rows:
        if not is_film(row.content):
            check_format(row.output, flags)
    return rows


def check_row(row: Row, flags: argparse.Namespace) -> None:
    """Refuse a single result that cannot be written.

    Raises:
      UsageError: A library is missing, or a flag is for other formats.
      OSError: It cannot be written.
      ValueError: The ending is not one of its kind.
    """
    if is_film(row.content):
        try:
            film.check_film(row.output)
        except ModuleNotFoundError as error:
            raise UsageError(str(error)) from error
    else:
        check_output(row.output)
        check_format(row.output, flags)


def is_film(path: str) -> bool:
    """Tell a film by its ending."""
    return Path(path).suffix.lower() in film.ENDINGS


def _model(flags: argparse.Namespace) -> str:
    """Return the model's file: a path, or what ships by that name."""
    given: str = flags.model
    shipped = bundled_styles()
    return str(shipped[given]) if given in shipped and not os.path.isfile(given) else given


def _settings(flags: argparse.Namespace) -> str:
    """Digest all that decides a result but its input and the model."""
    said = flags.size, flags.precision, sorted(save_options(flags).items())
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]
