"""``jaxnst batch``: folders of contents and styles, or a manifest, to a folder of results.

The rows, and the flags of each, are read before anything slow is imported.
"""

import argparse
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jaxnst._checks import counted
from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError, guarded
from jaxnst.cli.flags import FolderFlags, Parser, add_flags, flag, read_fields, report_unused_seed
from jaxnst.cli.inputs import report_odd_values
from jaxnst.cli.interrupt import RESUMABLE, Stopped, exit_when_stopped, stoppable
from jaxnst.cli.manifest import (
    Row,
    pictures,
    read_manifest,
    refuse_own_folder,
    report_skipped_files,
    rows_of,
)
from jaxnst.cli.messages import Messages, quiet_xla
from jaxnst.cli.option_types import integer
from jaxnst.cli.outputs import QUALITY, check_format, save_options
from jaxnst.cli.parser import RunFlags, parse
from jaxnst.cli.results_log import ResultsLog, digest_of_file, digest_of_settings, lock_folder
from jaxnst.cli.work import LANES, Task, Work
from jaxnst.recipes import format_recipe
from jaxnst.recipes.schema import RANDOM_STARTS, STARTS, Recipe

if TYPE_CHECKING:
    from jaxnst.cli.engine import Engine

GIVE = "give the pictures as --contents WHERE --styles WHERE, or as --manifest FILE"

PLAIN_FILE = {"bits": 8, "dpi": None, "quality": QUALITY}
"""How a result is saved by default, which the log's digests leave out."""


def _shard(text: str) -> tuple[int, int]:
    first, slash, count = text.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a shard, expected I/N with I from 1 to N"
        )
    return int(first), int(count)


@dataclass(frozen=True, kw_only=True)
class BatchFlags(FolderFlags):
    """Flags of the command beside those of ``jaxnst run``."""

    contents: str | None = flag(
        "--contents WHERE", "pictures to paint: a folder, a pattern such as '*.jpg', or a file"
    )
    styles: str | None = flag(
        "--styles WHERE", "pictures to take the styles from: a folder, a pattern or a file"
    )
    manifest: str | None = flag(
        "--manifest FILE",
        "table of the pictures, CSV or JSON Lines, with the columns content and style; further "
        "columns, if needed, are output and flags of jaxnst run: style-weight, size, seed, recipe "
        "and others",
    )
    out: str = flag("-o --output --out FOLDER", "folder to save the results in", ...)
    at_once: int | None = flag(
        "--at-once N",
        f"paint at most this many pictures side by side (default: one on a CPU; {LANES} on any "
        "other device, or as many as fit in memory; a resumed batch keeps its number)",
        read=integer(1),
    )
    shard: tuple[int, int] | None = flag(
        "--shard I/N", "paint every Nth row, beginning with the Ith", read=_shard
    )
    engine: Literal["local", "ray"] = flag(
        "--engine",
        "local: paint in this process, on its devices; ray: on the workers of a Ray cluster, which "
        "needs jaxnst[ray] and the same jaxnst on every machine",
        "local",
    )
    address: str | None = flag(
        "--address WHERE",
        "address of the Ray cluster: auto, HOST:PORT or ray://HOST:PORT (default: RAY_ADDRESS, "
        "else a new cluster on this machine)",
    )
    workers: int | None = flag(
        "--workers N",
        "number of Ray workers (default: one for each GPU; without a GPU, one for each machine)",
        read=integer(1),
    )


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = _parser(prog)
    parser.complete()
    parsed, rest = parser.parse_known_args(arguments)
    flags = read_fields(BatchFlags, parsed)
    return guarded(prog, lambda: _run(flags, rest, prog), debug="--debug" in rest)


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage=f"{prog} --contents WHERE --styles WHERE -o FOLDER [flags]\n"
        f"       {prog} --manifest FILE -o FOLDER [flags]",
        description="Paint every content in the manner of every style, or the rows of a manifest.",
        epilog="The flags of jaxnst run for method and device work here too: --size, --recipe, "
        "--style-weight and so on. If the command is stopped, or a picture fails, the same command "
        "paints what is left. Exit status: 0 all done; 1 a picture failed; 2 wrong flags; 130 "
        "stopped.",
    )
    add_flags(parser, BatchFlags)
    return parser


def _run(options: BatchFlags, rest: list[str], prog: str) -> int:
    if options.engine == "local" and (options.address, options.workers) != (None, None):
        raise UsageError("--address and --workers are for --engine ray")
    rows = _rows(options)
    # Its errors are not those of a row.
    common, recipe = parse(["content", "style", *rest], prog, single=False)
    _check(common, recipe)
    shard = options.shard or (1, 1)
    tasks = _tasks(rows, rest, prog)[shard[0] - 1 :: shard[1]]
    messages = Messages(prog, quiet=common.quiet, json=common.json)
    if os.path.exists(options.out) and not os.path.isdir(options.out):
        raise UsageError(f"-o {name_of(options.out)} is a file, expected a folder for the results")
    for task in tasks:
        if task.flags.seed_given and task.recipe.init not in RANDOM_STARTS:
            report_unused_seed(task.flags, task.recipe, messages)
            break  # once is enough
    for task in {task.row.flags: task for task in tasks}.values():
        report_odd_values(task.flags, task.recipe, messages)
    report_skipped_files(filter(None, [options.contents, options.styles]), messages)
    os.makedirs(options.out, exist_ok=True)
    with (
        exit_when_stopped(messages, RESUMABLE),
        lock_folder(options.out, shard),
        messages.warnings_as_notices(),
    ):
        return 1 if _work(tasks, options, messages, debug=common.debug) else 0


def _rows(options: BatchFlags) -> list[Row]:
    if options.manifest is not None and options.contents is options.styles is None:
        return read_manifest(options.manifest, options.out, options.ending)
    if options.manifest is not None:
        raise UsageError("--manifest lists the pictures: leave out --contents and --styles")
    if options.contents is None or options.styles is None:
        raise UsageError(GIVE)
    contents, styles = (
        pictures("--contents", options.contents),
        pictures("--styles", options.styles),
    )
    refuse_own_folder(options.out, contents + styles)
    return rows_of(itertools.product(contents, styles), options.out, options.ending)


def _tasks(rows: list[Row], rest: list[str], prog: str) -> list[Task]:
    """Parse the flags of every row, equal ones once."""
    parsed: dict[tuple[str, ...], tuple[RunFlags, Recipe, str]] = {}
    tasks = list[Task]()
    for row in rows:
        if row.flags not in parsed:
            arguments = ["content", "style", *rest, *row.flags]
            flags, recipe = parse(arguments, prog, single=False, where=row.where)
            with row.blamed():
                _check(flags, recipe)
                network = flags.network or recipe.network
                first = tasks[0].flags.network or tasks[0].recipe.network if tasks else network
                if network != first:
                    raise UsageError(
                        f"the recipe {recipe.name} is for {network}, that of the first row for "
                        f"{first}: give one --network for all"
                    )
            parsed[row.flags] = flags, recipe, _settings(flags, recipe)
        with row.blamed():
            check_format(row.output, parsed[row.flags][0])
        tasks.append(Task(row, *parsed[row.flags]))
    return tasks


def _check(flags: RunFlags, recipe: Recipe) -> None:
    """Refuse pictures on the command line, and what is for a single picture.

    Raises:
      UsageError: One is given.
    """
    if flags.styles != ["style"]:
        raise UsageError(GIVE)
    if flags.mask or flags.style_mask:
        raise UsageError("--mask and --style-mask are for jaxnst run and jaxnst sweep")
    if recipe.init not in STARTS:
        raise UsageError(f"--init: a batch starts from {', '.join(STARTS)}")


def _settings(flags: RunFlags, recipe: Recipe) -> str:
    """Digest all that decides a row's file beside its pictures; earlier logs have the same."""
    weights = "" if flags.weights is None else digest_of_file(flags.weights)
    network = flags.network or recipe.network, weights, flags.preprocessing, flags.precision
    settings: list[object] = [
        format_recipe(recipe),
        flags.size,
        flags.style_size,
        flags.seed,
        network,
    ]
    if flags.style_mix:
        settings.append(tuple(flags.style_mix))
    if flags.deterministic:  # on a GPU another picture than without
        settings.append("deterministic")
    if flags.no_metadata:
        settings.append("no metadata")
    saving = save_options(flags).items()
    if changed := {name: value for name, value in saving if value != PLAIN_FILE[name]}:
        settings.append(changed)
    return digest_of_settings(tuple(settings))


def _work(tasks: list[Task], options: BatchFlags, messages: Messages, *, debug: bool) -> int:
    """Paint what is left; return how many rows failed."""
    log = ResultsLog(options.out)
    rows = [(task.row, task.settings) for task in tasks]
    left = log.left(rows, overwrite=options.overwrite)
    done = {task.row.output for task in tasks} - {row.output for row in left}
    messages.info(f"{counted(len(tasks), 'picture')}, {len(done)} of them already painted")
    if not left:
        return 0
    quiet_xla(debug=debug)

    def open_engine() -> "Engine":
        flags, recipe = tasks[0].flags, tasks[0].recipe
        if options.engine == "local":
            from jaxnst.cli.engine import open_local

            return open_local(flags, recipe)
        from jaxnst.cli.ray_engine import open_ray

        return open_ray(flags, recipe, address=options.address, workers=options.workers)

    work = Work(tasks, done, options.at_once, log, messages, open_engine)
    try:
        return stoppable(work.all)
    except Stopped:
        work.end()
        raise
