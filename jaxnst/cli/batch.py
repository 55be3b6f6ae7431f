"""``jaxnst batch``: folders of contents and styles, or a manifest, to a folder of results.

The rows, and what becomes of each, are worked out before anything slow is imported.
"""

import argparse
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from jaxnst._files import name_of
from jaxnst.cli.buckets import AT_ONCE, Task
from jaxnst.cli.errors import UsageError, guarded
from jaxnst.cli.flags import Parser, add_ending, add_overwrite, tell_of_seed
from jaxnst.cli.interrupt import GOES_ON, Stopped, leaving_when_stopped, stoppable
from jaxnst.cli.locking import alone_in
from jaxnst.cli.manifest import Row, product, read_manifest, tell_of_passed_over
from jaxnst.cli.messages import Messages, hush_xla
from jaxnst.cli.option_types import whole
from jaxnst.cli.outputs import QUALITY, check_format, save_options
from jaxnst.cli.parser import RunFlags, parse, refuse_single
from jaxnst.cli.results_log import Ledger, digest_of_file
from jaxnst.cli.work import Work
from jaxnst.recipes import format_recipe
from jaxnst.recipes.schema import RANDOM_STARTS, STARTS, Recipe

if TYPE_CHECKING:
    from jaxnst.cli.engine import Engine

PLAIN_FILE = {"bits": 8, "dpi": None, "quality": QUALITY}
"""How a result is saved unless said otherwise, of which the log's digests say nothing."""


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    flags, rest = _parser(prog).parse_known_args(arguments)
    debug = "--debug" in rest
    return guarded(prog, lambda: _run(flags, rest, prog), debug=debug)


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage=f"{prog} --contents WHERE --styles WHERE --out FOLDER [flags]\n"
        f"       {prog} --manifest FILE --out FOLDER [flags]",
        description="Paint every content in the manner of every style, or the rows of a manifest.",
        epilog="All flags of the method and the machine of `jaxnst run` besides: --size, --recipe, "
        "--style-weight and so on. Exit status: 0 all done, 1 a picture failed, 2 wrong flags, 130 "
        "stopped; the same command goes on.",
        allow_abbrev=False,
    )
    parser.add_argument("--contents", metavar="WHERE", help="a folder, a pattern or a picture")
    parser.add_argument("--styles", metavar="WHERE", help="the same")
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="CSV or JSON Lines: content, style and, if need be, output, seed, style-weight ...",
    )
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder of the results")
    add_ending(parser)
    add_overwrite(parser)
    parser.add_argument(
        "--at-once",
        type=whole(1),
        metavar="N",
        help=f"most pictures side by side (default: {AT_ONCE} on each device, or as many as memory "
        "holds; a batch that is gone on with keeps to what it had)",
    )
    parser.add_argument(
        "--shard", type=_shard, default=(1, 1), metavar="I/N", help="make every Nth row, from Ith"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="what paints: this process, on its devices, or the workers of a Ray cluster, a batch "
        "each; Ray comes with jaxnst[ray], and every machine needs the same jaxnst",
    )
    parser.add_argument(
        "--address",
        metavar="WHERE",
        help="the Ray cluster: auto, HOST:PORT or ray://HOST:PORT (default: RAY_ADDRESS, or one is "
        "started on this machine)",
    )
    parser.add_argument(
        "--workers",
        type=whole(1),
        metavar="N",
        help="of Ray (default: one for each GPU; where there is none, one for each machine)",
    )
    return parser


def _shard(text: str) -> tuple[int, int]:
    first, slash, count = text.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard, expected I/N with I from 1 to N")
    return int(first), int(count)


def _run(flags: argparse.Namespace, rest: list[str], prog: str) -> int:
    open_engine = _engine(flags)
    rows = _rows(flags)
    tasks = list(_tasks(rows, rest, prog))
    first, count = flags.shard
    tasks = tasks[first - 1 :: count]
    common = tasks[0].flags if tasks else parse(["content", "style", *rest], prog)[0]
    messages = Messages(prog, quiet=common.quiet)
    if os.path.exists(flags.out) and not os.path.isdir(flags.out):
        raise UsageError(f"--out {name_of(flags.out)} is a file, expected a folder for the results")
    for task in tasks:
        if task.flags.seed_given and task.recipe.init not in RANDOM_STARTS:
            tell_of_seed(task.flags, task.recipe, messages)
            break  # once is enough
    tell_of_passed_over(filter(None, [flags.contents, flags.styles]), messages)
    os.makedirs(flags.out, exist_ok=True)
    with (
        leaving_when_stopped(messages, GOES_ON),
        alone_in(flags.out, flags.shard),
        messages.warnings_as_notices(),
    ):
        return 1 if _work(tasks, flags, messages, open_engine, debug=common.debug) else 0


def _engine(
    flags: argparse.Namespace,
) -> "Callable[[RunFlags, Recipe], Engine]":
    if flags.engine == "local" and (flags.address is not None or flags.workers is not None):
        raise UsageError("--address and --workers are for --engine ray")

    def open_engine(common: RunFlags, recipe: Recipe) -> "Engine":
        if flags.engine == "local":
            from jaxnst.cli.engine import open_local

            return open_local(common, recipe)
        from jaxnst.cli.cluster import open_ray

        return open_ray(common, recipe, address=flags.address, workers=flags.workers)

    return open_engine


def _work(
    tasks: list[Task],
    flags: argparse.Namespace,
    messages: Messages,
    open_engine: "Callable[[RunFlags, Recipe], Engine]",
    *,
    debug: bool,
) -> int:
    """Paint what is left; return how many rows failed."""
    ledger = Ledger(flags.out)
    left = ledger.left([(task.row, task.settings) for task in tasks], overwrite=flags.overwrite)
    done = {task.row.output for task in tasks} - {row.output for row in left}
    messages.say(f"{len(tasks)} pictures, {len(done)} of them there already")
    if len(done) == len(tasks):
        return 0
    hush_xla(debug=debug)
    work = Work(tasks, done, flags.at_once, ledger, messages, open_engine)
    try:
        return stoppable(work.all)
    except Stopped:
        work.end()
        raise


def _rows(flags: argparse.Namespace) -> list[Row]:
    pairs = flags.contents is not None or flags.styles is not None
    if (flags.manifest is not None) == pairs or (pairs and None in (flags.contents, flags.styles)):
        raise UsageError("give --contents and --styles, or a --manifest")
    if flags.manifest is not None:
        return read_manifest(flags.manifest, flags.out, flags.ending)
    return product(flags.contents, flags.styles, flags.out, flags.ending)


def _tasks(rows: list[Row], rest: list[str], prog: str) -> Iterator[Task]:
    """Read every row's flags, those of the same ones once."""
    read: dict[tuple[str, ...], tuple[RunFlags, Recipe, str]] = {}
    given = ["content", "style", *rest]
    parse(given, prog)  # what is wrong with it is no row's fault
    for row in rows:
        if row.flags not in read:
            flags, recipe = parse([*given, *row.flags], prog, where=row.where)
            refuse_single(flags)
            if flags.output or flags.allow_local:
                raise UsageError("-o and --allow-local are for jaxnst run")
            if flags.origin or flags.no_metadata or flags.other_inputs:
                raise UsageError("--from, --other-inputs and --no-metadata are for jaxnst run")
            if flags.styles != ["style"]:
                raise UsageError("pictures are given by --contents and --styles, or a --manifest")
            if flags.mask or flags.style_mask:
                raise UsageError("--mask and --style-mask are for jaxnst run and jaxnst sweep")
            if recipe.init not in STARTS:
                raise UsageError(f"--init: a batch starts from {', '.join(STARTS)}")
            read[row.flags] = flags, recipe, _settings(flags, recipe)
        try:
            check_format(row.output, read[row.flags][0])
        except ValueError as error:
            raise type(error)(f"{row.where}: " * bool(row.where) + str(error)) from None
        yield Task(row, *read[row.flags])


def _settings(flags: RunFlags, recipe: Recipe) -> str:
    """Digest all that decides a row's file but the pictures it is made of."""
    weights = "" if flags.weights is None else digest_of_file(flags.weights)
    network = flags.network or recipe.network, weights, flags.preprocessing, flags.precision
    said: tuple[object, ...] = (format_recipe(recipe), flags.size, flags.style_size, flags.seed)
    said = *said, network
    if flags.style_mix:
        said = *said, tuple(flags.style_mix)
    if flags.deterministic:  # on a GPU another picture than without
        said = *said, "deterministic"
    options = save_options(flags).items()
    if changed := {name: value for name, value in options if value != PLAIN_FILE[name]}:
        said = *said, changed
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]
