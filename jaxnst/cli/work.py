"""The work of ``jaxnst batch``: grouping rows, and reading, painting, saving and logging each.

Batches are formed of all rows, not of those that are left: a row that is painted after a stop goes
through the same program in the same lane, and comes out byte-identical on a CPU of as many threads.
While one batch is painted the next is read and the last is written. Every row that has ended is a
line in the log. A row that fails costs only itself; only a log that cannot be written stops
everything.
"""

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, NamedTuple

from jaxnst._checks import counted
from jaxnst._files import name_of
from jaxnst.cli.errors import FAILED, blaming_flags, explain, print_error
from jaxnst.cli.manifest import Row
from jaxnst.cli.messages import Messages, length
from jaxnst.cli.outputs import save_options, save_picture
from jaxnst.cli.parser import RunFlags, program_of
from jaxnst.cli.progress import ProgressBar
from jaxnst.cli.recording import record_of, record_to_write
from jaxnst.cli.results_log import ResultsLog, inputs
from jaxnst.image import check_side, image_size, keeping_bytes, load_image, same_shape
from jaxnst.image.color import Pixels
from jaxnst.image.record import Record, Source, parameters_sha256
from jaxnst.recipes.schema import Recipe
from jaxnst.transfer.pyramid import Schedule, make_schedule

if TYPE_CHECKING:
    from jaxnst.cli.engine import Engine
    from jaxnst.transfer.result import StylizeResult

Pictures = tuple[Pixels, list[Pixels]]
Painted = tuple["Task", "StylizeResult"]

LANES = 8
"""Lanes per accelerator, unless the user sets a number."""


class Task(NamedTuple):
    """A row, its flags parsed; ``settings`` digests what decides the result beside the pictures."""

    row: Row
    flags: RunFlags
    recipe: Recipe
    settings: str


@dataclass(eq=False)
class Bucket:
    """Rows of one program, in batches of ``lanes`` each; ``schedule`` is that of the first row.

    ``bytes`` is an upper bound on the memory of one lane's pictures. Two sets are held at a time:
    the next batch is read while the current one is painted.
    """

    schedule: Schedule
    tasks: list[Task] = field(default_factory=list)
    lanes: int = 1
    bytes: int = 0


class Batch(NamedTuple):
    """Rows that run side by side.

    ``rows`` are their numbers in the bucket; row ``i`` has lane ``i % lanes``. Lanes without a row
    are filled with a copy.
    """

    bucket: Bucket
    lanes: int
    rows: list[int]


def _bytes(path: str) -> int:
    """Estimate the memory of a picture; 0 if it cannot be read, which fails later."""
    try:
        return keeping_bytes((*image_size(path), 3))
    except (OSError, ValueError):
        return 0


def usual_lanes(engine: "Engine") -> int:
    """Return how many rows are painted side by side, unless the user or the log says how many.

    On a CPU one on each device: eight pairs side by side took 1.18 times as long there as one by
    one in the same process (192 px, 100 evaluations, two cores: 62.2 s and 52.8 s). An accelerator
    has room for more operations at a time than those of one picture.
    """
    on_cpu = engine.threads is not None
    return engine.devices * (1 if on_cpu else LANES)


@dataclass(eq=False)
class Work:
    """All rows, which of them have ended, and how far the others are.

    ``ended`` has the outputs of rows that need no painting any more: at first those that were done
    before. ``at_once`` is the most lanes, if the user gave a number.
    """

    tasks: list[Task]
    ended: set[str]
    at_once: int | None
    log: ResultsLog
    messages: Messages
    open_engine: "Callable[[], Engine]"

    def __post_init__(self) -> None:
        self.left = len(self.tasks) - len(self.ended)
        self.inputs: dict[str, list[str]] = {}  # digests of the inputs of what is being painted
        self.finished = self.failed = 0
        self.counting = threading.Lock()  # rows end in three threads
        self.writer = ThreadPoolExecutor(1, "jaxnst-write")
        self.engine: Engine | None = None
        self.bar = ProgressBar(self.messages)

    def all(self) -> int:
        """Paint everything; return how many rows failed."""
        from jaxnst.cli.device import keep_programs
        from jaxnst.cli.job import report_method
        from jaxnst.losses.objective import make_objective

        begin = time.monotonic()
        methods = {task.recipe: task.row for task in reversed(self.tasks)}
        try:
            engine = self.engine = self.open_engine()
            for recipe, row in methods.items():
                with row.blamed(), blaming_flags():  # layers and statistics have to exist
                    make_objective(recipe, engine.network)
                report_method(recipe, engine.network, self.messages)
            self.report_threads(engine)
            keep_programs(self.messages.notice, unless=self.tasks[0].flags.no_cache)
            batches = deque[Batch]()
            for bucket in self.buckets():
                try:
                    bucket.lanes = self.lanes(bucket, engine)
                except ValueError as error:  # not even one fits into memory
                    for task in bucket.tasks:
                        if task.row.output not in self.ended:
                            self.fail(task, error)
                batches += self.divide(bucket, range(len(bucket.tasks)))
            self.paint_all(batches, engine)
        finally:
            self.end()
        seconds = length(time.monotonic() - begin)
        self.messages.info(
            f"{counted(self.finished, 'picture')} in {seconds}, {self.failed} failed: "
            f"{name_of(self.log.path)}"
        )
        return self.failed

    def end(self) -> None:
        """Wait until every painted picture is saved, then close the writer and the engine."""
        self.writer.shutdown()
        self.bar.close()
        if self.engine is not None:
            self.engine.close()

    def report_threads(self, engine: "Engine") -> None:
        """Give notice if earlier results were painted on another number of threads."""
        earlier = self.log.threads(self.ended)
        if engine.threads is not None and earlier - {engine.threads}:
            threads = ", ".join(counted(number, "thread") for number in sorted(earlier))
            self.messages.notice(
                f"earlier pictures were painted on {threads} of a CPU, the rest will be on "
                f"{engine.threads}: they may differ from those of an uninterrupted batch"
            )

    def buckets(self) -> list[Bucket]:
        """Sort all rows by the programs that they need; one whose content cannot be read fails."""
        buckets: dict[Hashable, Bucket] = {}
        stretched = set()
        bytes_of = cache(_bytes)
        for i, task in enumerate(self.tasks):
            row, recipe = task.row, task.recipe
            try:
                size = image_size(row.content)
                schedule = make_schedule(size, [], recipe.scales, size=task.flags.size)
            except (OSError, ValueError) as error:
                self.fail(task, error)
                continue
            program = (  # what decides it, as in jaxnst.transfer.batch
                tuple((scale.inner, scale.evaluations) for scale in schedule.scales),
                (row.content, *row.styles) if recipe.unit_means else (),
                i if recipe.solver.line_search != "fixed" else -1,
                program_of(task.flags, recipe),
            )
            bucket = buckets.setdefault(program, Bucket(schedule))
            bucket.tasks.append(task)
            bucket.bytes = max(bucket.bytes, sum(map(bytes_of, (row.content, *row.styles))))
            if recipe.scales.aspect is not None and not same_shape(size, schedule.size):
                stretched.add(row.content)
        if stretched:
            more = f" and {len(stretched) - 1} more are" if len(stretched) > 1 else " is"
            self.messages.notice(
                f"{name_of(min(stretched))}{more} stretched: the recipe {recipe.name} has an "
                "aspect ratio of its own"
            )
        for recipe in {task.recipe for task in self.tasks if task.recipe.scales.style_like_content}:
            self.messages.notice(
                f"the recipe {recipe.name} stretches styles to the shape of the result"
            )
        return list(buckets.values())

    def lanes(self, bucket: Bucket, engine: "Engine") -> int:
        """Choose how many lanes a bucket's batches have; as many as before if the log says so.

        Raises:
          ValueError: Not even one fits into memory.
        """
        from jaxnst.optim.sharding import lanes_of

        most = self.at_once
        if most is None:
            before = self.log.lanes((task.row, task.settings) for task in bucket.tasks)
            if before is not None:
                return before
            allowed = self.tasks[0].flags.max_memory
            fitting = engine.most(bucket.schedule, bucket.tasks[0].recipe, allowed, bucket.bytes)
            most = usual_lanes(engine) if fitting is None else min(usual_lanes(engine), fitting)
        if engine.workers > 1:
            most = min(most, -(-len(bucket.tasks) // engine.workers))  # so that none is idle
        return lanes_of(len(bucket.tasks), most, engine.devices)

    def divide(self, bucket: Bucket, rows: Iterable[int]) -> list[Batch]:
        """Form batches of those of a bucket's rows that have not ended."""
        lanes = bucket.lanes
        left = [i for i in rows if bucket.tasks[i].row.output not in self.ended]
        groups = itertools.groupby(left, key=lambda i: i // lanes)
        return [Batch(bucket, lanes, list(group)) for _, group in groups]

    def paint_all(self, batches: deque[Batch], engine: "Engine") -> None:
        """Paint as many batches at a time as the engine does, and read as many ahead.

        What is left of a bucket is divided into half as many lanes if a batch did not fit into
        memory.
        """
        writing: list[Future[None]] = []
        running: dict[Future[list[Painted] | None], Batch] = {}
        reader = ThreadPoolExecutor(1, "jaxnst-read")
        painters = ThreadPoolExecutor(engine.workers, "jaxnst-paint")
        try:
            while batches or running:
                while batches and len(running) < 2 * engine.workers:
                    batch = batches.popleft()
                    bucket = batch.bucket
                    if batch.lanes > bucket.lanes:
                        # Logged last: a batch that is resumed has as many lanes as the last lines.
                        older = (b for b in running.values() if b.bucket is bucket)
                        if any(b.lanes > bucket.lanes for b in older):
                            batches.appendleft(batch)
                            break
                        batches.extendleft(reversed(self.divide(bucket, batch.rows)))
                        continue
                    reading = reader.submit(self.read, batch)
                    running[painters.submit(self.paint_if_it_fits, batch, reading)] = batch
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    batch, painted = running.pop(future), future.result()
                    if painted is None:
                        batches.appendleft(batch)
                        continue
                    self.ended.update(task.row.output for task, _ in painted)
                    while writing:  # few pictures wait in memory
                        writing.pop().result()
                    writing = [self.writer.submit(self.write, *one, batch) for one in painted]
            for last in writing:
                last.result()
        finally:
            reader.shutdown(cancel_futures=True)
            painters.shutdown(cancel_futures=True)

    def paint_if_it_fits(
        self, batch: Batch, reading: Future[dict[int, Pictures]]
    ) -> "list[Painted] | None":
        """Paint a batch once it is read; None if it has too many lanes for the memory."""
        pictures, bucket = reading.result(), batch.bucket
        if batch.lanes > bucket.lanes:
            return None
        try:
            return list(self.paint(batch, pictures, list(pictures), [])) if pictures else []
        except MemoryError:
            bucket.lanes = min(bucket.lanes, -(-batch.lanes // 2))
            return None

    def read(self, batch: Batch) -> dict[int, Pictures]:
        """Load the pictures of a batch by row; a row whose pictures cannot be used has ended."""
        from jaxnst.transfer.guidance import make_guidance
        from jaxnst.transfer.style_cache import StyleImage

        pictures: dict[int, Pictures] = {}
        loaded: dict[str, tuple[Pixels, StyleImage]] = {}
        for i in batch.rows:
            task = batch.bucket.tasks[i]
            paths = task.row.content, *task.row.styles
            try:
                # Digested now: the files may be replaced before the result is saved.
                self.inputs[task.row.output] = inputs(task.row)
                for path in paths:
                    if path not in loaded:
                        picture = load_image(path, alpha=True)
                        check_side(picture, path)
                        loaded[path] = picture, StyleImage(picture)
                content, *styles = (loaded[path] for path in paths)
                # Checked here, where it is known which row it is.
                mix = task.flags.mixture
                make_guidance(content[1], [style for _, style in styles], style_mix=mix)
                pictures[i] = content[0], [style for style, _ in styles]
            except (OSError, ValueError, MemoryError) as error:
                self.fail(task, error)
        return pictures

    def paint(
        self, batch: Batch, pictures: dict[int, Pictures], rows: list[int], failures: list[str]
    ) -> "Iterator[Painted]":
        """Paint rows of a batch in their lanes; the other lanes are filled with a copy.

        If that fails, halves are painted, down to the rows that fail by themselves, still in their
        lanes: the result of a row does not depend on the other rows. If two rows in turn fail with
        the same error as all together, the rows are not its reason, and the rest is not tried.
        ``failures`` has the errors of rows that failed by themselves, since the last that did not.

        Raises:
          EngineError: Nothing can be painted any more.
          MemoryError: Fewer lanes may fit.
        """
        from jaxnst.cli.engine import EngineError, Order

        assert self.engine is not None
        lanes = [rows[0]] * batch.lanes
        for i in rows:
            lanes[i % batch.lanes] = i
        tasks = batch.bucket.tasks
        flags = tasks[rows[0]].flags
        order = Order(
            contents=[pictures[i][0] for i in lanes],
            styles=[pictures[i][1] for i in lanes],
            recipe=[tasks[i].recipe for i in lanes],
            size=flags.size,
            style_size=flags.style_size,
            style_mix=flags.mixture,
            seed=[tasks[i].flags.seed for i in lanes],
            only=[i % batch.lanes for i in rows],
        )
        outcomes: Sequence[StylizeResult | Exception]
        try:
            outcomes = self.engine.paint(order, partial(self.report, len(rows)))
            failures.clear()
        except EngineError:
            raise
        except Exception as error:
            full = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
            if full and batch.lanes > 1:
                raise MemoryError(str(error)) from error
            if len(rows) > 1:
                half = len(rows) // 2
                for part in (rows[:half], rows[half:]):
                    if failures[-2:] != [str(error)] * 2:
                        yield from self.paint(batch, pictures, part, failures)
                    else:
                        for i in part:
                            self.fail(tasks[i], error)
                return
            failures.append(str(error))
            outcomes = [error]
        for i, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self.fail(tasks[i], outcome)
            else:
                yield tasks[i], outcome

    def write(self, task: Task, result: "StylizeResult", batch: Batch) -> None:
        """Save a picture, and only then add it to the log."""
        try:
            record = record_to_write(
                task.flags, task.row.output, partial(self.record, task), self.messages
            )
            save_picture(task.row.output, result.image, record=record, **save_options(task.flags))
            facts = {
                "inputs": self.inputs[task.row.output],
                "recipe": task.recipe.name,
                "seed": task.flags.seed,
                "losses": {name: float(values[-1]) for name, values in result.losses.items()},
                "evaluations": result.evaluations,
                "seconds": round(result.run_seconds, 2),
                "lanes": batch.lanes,
                "rows": len(batch.bucket.tasks),
            }
            if self.engine is not None and self.engine.threads is not None:
                facts["threads"] = self.engine.threads
        except Exception as error:
            self.fail(task, error)
            return
        with self.counting:
            self.finished += 1
            self.log.write(task.row, task.settings, **facts, error=None)
        row = task.row
        self.messages.saved(row.output, content=row.content, styles=list(row.styles), **facts)

    def record(self, task: Task) -> Record:
        """Describe how a row's picture is made."""
        assert self.engine is not None
        row = task.row
        roles, digests = ["content", *["style"] * len(row.styles)], self.inputs[row.output]
        files = zip(roles, (row.content, *row.styles), digests, strict=True)
        return record_of(
            task.flags,
            self.engine.network.name,
            self.network_sha256,
            tuple(Source(role=r, name=os.path.basename(p), sha256=d) for r, p, d in files),
            recipe=task.recipe,
            seed=task.flags.seed,
            platform=self.engine.platform,
            threads=self.engine.threads,
        )

    @cached_property
    def network_sha256(self) -> str:
        """Digest of the network's parameters."""
        assert self.engine is not None
        return parameters_sha256(self.engine.network.params)

    def fail(self, task: Task, error: Exception) -> None:
        """Record that a row has failed."""
        text = explain(error)
        with self.counting:
            self.ended.add(task.row.output)
            self.failed += 1
            self.log.write(task.row, task.settings, error=text)
        self.messages.event("failed", output=task.row.output, error=text)
        text += f" ({task.row.where})" * bool(task.row.where)
        print_error(self.messages.prog, f"{name_of(task.row.output)} failed: {text}", FAILED)

    def report(self, rows: int, share: int | float, text: str) -> None:
        """Show how far it is: ``share`` of the rows' work is done, 0 to 1."""
        ended = self.finished + self.failed
        done = f"{ended}/{self.left} pictures"
        whole = (ended + rows * share) / max(1, self.left)
        self.bar.update(whole, done, [text])
        self.messages.event("progress", done=ended, inputs=self.left, share=round(whole, 4))
