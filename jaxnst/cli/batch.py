"""``jaxnst batch``: folders of contents and styles, or a manifest, to a folder of results.

Pictures of one shape go through one program side by side. While one batch is painted the next one
is read and the last one written. Every row that has ended is a line in ``results.jsonl``; the same
command goes on where it was stopped. A row that fails costs only itself.
"""

import argparse
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError, explain, guarded, leave
from jaxnst.cli.flags import Parser, whole
from jaxnst.cli.ledger import Ledger, inputs
from jaxnst.cli.messages import Messages, hush_xla, length, shape
from jaxnst.cli.parser import parse
from jaxnst.cli.rows import Row, product, read_manifest
from jaxnst.cli.saving import print_path
from jaxnst.cli.stopping import Stopped, stoppable
from jaxnst.config import Recipe
from jaxnst.image import ENDINGS, check_side, image_size, load_image, save_image
from jaxnst.recipes import format_recipe
from jaxnst.schedule import Schedule, make_schedule
from jaxnst.srgb import Pixels

if TYPE_CHECKING:
    import jax

    from jaxnst.batch import BatchProgress
    from jaxnst.networks import LossNetwork
    from jaxnst.result import StylizeResult

AT_ONCE = 8

Pictures = tuple[Pixels, list[Pixels]]


class Task(NamedTuple):
    """A row with its flags read: what is to be painted."""

    row: Row
    flags: argparse.Namespace
    recipe: Recipe
    settings: str


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
    parser.add_argument(
        "--ending", choices=ENDINGS, default=".png", help="of the results' names (default: .png)"
    )
    parser.add_argument(
        "--at-once",
        type=whole(1),
        metavar="N",
        help=f"most pictures side by side (default: {AT_ONCE}, or as many as memory holds)",
    )
    parser.add_argument(
        "--shard", type=_shard, default=(1, 1), metavar="I/N", help="make every Nth row, from Ith"
    )
    return parser


def _shard(text: str) -> tuple[int, int]:
    first, slash, count = text.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard, expected I/N with I from 1 to N")
    return int(first), int(count)


def _run(flags: argparse.Namespace, rest: list[str], prog: str) -> int:
    rows = _rows(flags)
    tasks = list(_tasks(rows, rest, prog))
    first, count = flags.shard
    tasks = tasks[first - 1 :: count]
    common = tasks[0].flags if tasks else parse(["content", "style", *rest], prog)[0]
    messages = Messages(prog, quiet=common.quiet)
    os.makedirs(flags.out, exist_ok=True)
    ledger = Ledger(flags.out)
    left = [task for task in tasks if not ledger.has(task.row, task.settings)]
    messages.say(f"{len(tasks)} pictures, {len(tasks) - len(left)} of them there already")
    if not left:
        return 0
    hush_xla(debug=common.debug)
    with messages.warnings_as_notices():
        try:
            failed = stoppable(lambda: _Work(left, flags.at_once, ledger, messages).all())
        except Stopped as stop:
            messages.say(f"{prog}: stopped; what is finished is saved, the same command goes on")
            leave(stop.status)
    return 1 if failed else 0


def _rows(flags: argparse.Namespace) -> list[Row]:
    pairs = flags.contents is not None or flags.styles is not None
    if (flags.manifest is not None) == pairs or (pairs and None in (flags.contents, flags.styles)):
        raise UsageError("give --contents and --styles, or a --manifest")
    if flags.manifest is not None:
        return read_manifest(flags.manifest, flags.out, flags.ending)
    return product(flags.contents, flags.styles, flags.out, flags.ending)


def _tasks(rows: list[Row], rest: list[str], prog: str) -> Iterator[Task]:
    """Read every row's flags, those of the same ones once."""
    from jaxnst.cli.inputs import STARTS

    read: dict[tuple[str, ...], tuple[argparse.Namespace, Recipe, str]] = {}
    for row in rows:
        if row.flags not in read:
            flags, recipe = parse(["content", "style", *rest, *row.flags], prog)
            if flags.output or flags.dry_run or flags.save_every or flags.timings:
                raise UsageError("-o, --dry-run, --save-every and --timings are for jaxnst run")
            if flags.styles != ["style"]:
                raise UsageError("pictures are given by --contents and --styles, or a --manifest")
            if recipe.init not in STARTS:
                raise UsageError(f"--init: a batch starts from {', '.join(STARTS)}")
            read[row.flags] = flags, recipe, _settings(flags, recipe)
        yield Task(row, *read[row.flags])


def _settings(flags: argparse.Namespace, recipe: Recipe) -> str:
    """Digest all that decides a row's picture but the pictures it is made of."""
    weights = "" if flags.weights is None else inputs(Row(flags.weights, (), ""))[0]
    network = flags.network or recipe.network, weights, flags.preprocessing, flags.precision
    said = format_recipe(recipe), flags.size, flags.style_size, flags.seed, network
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


class _Work:
    """What is left to do, and how far it is."""

    def __init__(
        self, tasks: list[Task], at_once: int | None, ledger: Ledger, messages: Messages
    ) -> None:
        self.tasks, self.at_once, self.ledger, self.messages = tasks, at_once, ledger, messages
        self.finished = self.failed = 0
        self.counting = threading.Lock()  # rows end in three threads
        self.begin = time.monotonic()

    def all(self) -> int:
        """Paint everything; return how many rows failed."""
        from jaxnst.cli.device import keep_programs
        from jaxnst.cli.job import open_network, tell_of_method

        flags, recipe = self.tasks[0].flags, self.tasks[0].recipe
        device, network = open_network(flags, recipe)
        tell_of_method(recipe, network, self.messages)
        if not flags.no_cache and (trouble := keep_programs()):
            self.messages.notice(trouble)
        batches = self.batches(device, network)
        # One reads ahead, one writes behind.
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            writing: list[Future[None]] = []
            ahead = reader.submit(self.read, batches[0] if batches else [])
            for following in [*batches[1:], []]:
                loaded = ahead.result()
                ahead = reader.submit(self.read, following)
                for task, result in self.paint(loaded, network):
                    writing.append(writer.submit(self.write, task, result))
            for future in writing:
                future.result()
        seconds = time.monotonic() - self.begin
        self.messages.say(
            f"{self.finished} pictures in {length(seconds)}, {self.failed} failed: "
            f"{name_of(self.ledger.path)}"
        )
        return self.failed

    def batches(self, device: "jax.Device", network: "LossNetwork") -> list[list[Task]]:
        """Sort tasks by the shape of their scales, in batches that fit into memory."""
        from jaxnst.cli.device import available_memory
        from jaxnst.planning import runs_that_fit

        groups: dict[tuple[Schedule, str], list[Task]] = {}
        for task in self.tasks:
            try:
                flags, scales = task.flags, task.recipe.scales
                size = image_size(task.row.content)
                schedule = make_schedule(size, [], scales, size=flags.size)
            except (OSError, ValueError) as error:
                self.fail(task, error)
                continue
            groups.setdefault((schedule, task.recipe.solver.kind), []).append(task)
        found = []
        available = available_memory(device)
        for (schedule, _), tasks in groups.items():
            host = device.platform == "cpu"
            fitting = runs_that_fit(schedule, tasks[0].recipe, network, available, host=host)
            most = self.at_once or min(AT_ONCE, fitting or AT_ONCE)
            found += [tasks[i : i + most] for i in range(0, len(tasks), most)]
        return found

    def read(self, tasks: list[Task]) -> list[tuple[Task, Pictures]]:
        """Load the pictures of a batch; a row whose pictures cannot be read has ended."""
        found = []
        for task in tasks:
            try:
                several = [load_image(p) for p in (task.row.content, *task.row.styles)]
                for path, picture in zip(
                    (task.row.content, *task.row.styles), several, strict=True
                ):
                    check_side(picture, path)
                found.append((task, (several[0], several[1:])))
            except (OSError, ValueError, MemoryError) as error:
                self.fail(task, error)
        return found

    def paint(
        self, loaded: list[tuple[Task, Pictures]], network: "LossNetwork"
    ) -> Iterator[tuple[Task, "StylizeResult"]]:
        """Paint a batch; where it does not fit into memory, half of it at a time."""
        from jaxnst.batch import stylize_batch

        if not loaded:
            return
        try:
            results = stylize_batch(
                [content for _, (content, _) in loaded],
                [styles for _, (_, styles) in loaded],
                network=network,
                recipe=[task.recipe for task, _ in loaded],
                size=loaded[0][0].flags.size,
                style_size=loaded[0][0].flags.style_size,
                seed=[task.flags.seed for task, _ in loaded],
                callback=partial(self.tell, shape(loaded[0][1][0].shape[:2])),
            )
        except Exception as error:
            middle = len(loaded) // 2
            if middle and (isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)):
                yield from self.paint(loaded[:middle], network)
                yield from self.paint(loaded[middle:], network)
                return
            for task, _ in loaded:
                self.fail(task, error)
            return
        yield from zip((task for task, _ in loaded), results, strict=True)

    def write(self, task: Task, result: "StylizeResult") -> None:
        """Save a picture, and only then say so in the log."""
        try:
            save_image(task.row.output, result.image)
            facts = {
                "inputs": inputs(task.row),
                "recipe": task.recipe.name,
                "seed": task.flags.seed,
                "losses": {name: float(values[-1]) for name, values in result.losses.items()},
                "evaluations": result.evaluations,
                "seconds": round(result.run_seconds, 2),
            }
        except (OSError, ValueError) as error:
            self.fail(task, error)
            return
        with self.counting:
            self.finished += 1
            self.ledger.write(task.row, task.settings, **facts, error=None)
        print_path(task.row.output)

    def fail(self, task: Task, error: Exception) -> None:
        """Note that a row has failed."""
        text = explain(error)
        with self.counting:
            self.failed += 1
            self.ledger.write(task.row, task.settings, error=text)
        self.messages.say(f"{self.messages.prog}: {name_of(task.row.output)} failed: {text}")

    def tell(self, size: str, progress: "BatchProgress") -> None:
        """Say every few seconds how far it is."""
        done = self.finished + self.failed
        self.messages.now_and_then(
            f"{done}/{len(self.tasks)} pictures; {len(progress.pairs)} at once of {size}: "
            f"{progress.done}/{progress.total} evaluations"
        )
