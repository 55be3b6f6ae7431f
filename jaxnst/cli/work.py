"""The work of ``jaxnst batch``: while one batch is painted the next is read and the last written.

Every row that has ended is a line in the log. A row that fails costs only itself; only a log that
cannot be written stops everything.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING

from jaxnst._files import name_of
from jaxnst.cli.buckets import AT_ONCE, Batch, Bucket, Task, Waiting, make_buckets
from jaxnst.cli.errors import explain
from jaxnst.cli.flags import style_mix_of
from jaxnst.cli.messages import Messages, length, print_path, shape
from jaxnst.cli.outputs import save_options, save_picture
from jaxnst.cli.parser import RunFlags
from jaxnst.cli.results_log import Ledger, inputs
from jaxnst.image import check_side, load_image
from jaxnst.image.color import Pixels

if TYPE_CHECKING:
    from jaxnst.cli.engine import Engine
    from jaxnst.recipes.schema import Recipe
    from jaxnst.transfer.result import StylizeResult

Pictures = tuple[Pixels, list[Pixels]]
Painted = tuple[Task, "StylizeResult"]


class Work:
    """All rows, which of them have ended, and how far the others are.

    Args:
      tasks: All rows.
      done: Outputs of those that were done before.
      at_once: Most lanes, if the person said so.
      ledger: The log.
      messages: Where progress is told.
      open_engine: Makes what paints, from the flags and the recipe of the first row.
    """

    def __init__(
        self,
        tasks: list[Task],
        done: set[str],
        at_once: int | None,
        ledger: Ledger,
        messages: Messages,
        open_engine: "Callable[[RunFlags, Recipe], Engine]",
    ) -> None:
        self.tasks, self.at_once, self.ledger, self.messages = tasks, at_once, ledger, messages
        self.settled = set(done)  # needs no painting any more
        self.left = len(tasks) - len(done)
        self.seen: dict[str, list[str]] = {}  # digests of the inputs of what is being painted
        self.finished = self.failed = 0
        self.counting = threading.Lock()  # rows end in three threads
        self.begin = time.monotonic()
        self.writer = ThreadPoolExecutor(1, "jaxnst-write")
        self.open_engine = open_engine
        self.engine: Engine | None = None

    def all(self) -> int:
        """Paint everything; return how many rows failed."""
        from jaxnst.cli.device import keep_programs
        from jaxnst.cli.job import tell_of_method

        flags, recipe = self.tasks[0].flags, self.tasks[0].recipe
        try:
            engine = self.engine = self.open_engine(flags, recipe)
            tell_of_method(recipe, engine.network, self.messages)
            self.tell_of_threads(engine)
            if not flags.no_cache:
                keep_programs(self.messages.notice)
            buckets = make_buckets(self.tasks, self.fail)
            self.tell_of_stretched(buckets, recipe)
            fitting = [bucket for bucket in buckets if self.fits(bucket, engine)]
            self.paint_all(Waiting(fitting), engine)
        finally:
            self.end()
        seconds = time.monotonic() - self.begin
        self.messages.say(
            f"{self.finished} pictures in {length(seconds)}, {self.failed} failed: "
            f"{name_of(self.ledger.path)}"
        )
        return self.failed

    def tell_of_threads(self, engine: "Engine") -> None:
        """Give notice if what is there was painted on another number of threads."""
        there = self.ledger.threads(self.settled)
        if engine.threads is not None and there - {engine.threads}:
            self.messages.notice(
                f"pictures that are there were painted on {', '.join(map(str, sorted(there)))} "
                f"threads of a CPU, the rest will be on {engine.threads}: they may differ from "
                "those of a batch that never stopped"
            )

    def tell_of_stretched(self, buckets: list[Bucket], recipe: "Recipe") -> None:
        """Give notice of pictures whose shape a recipe does not keep."""
        stretched = sorted({path for bucket in buckets for path in bucket.stretched})
        if stretched:
            more = f" and {len(stretched) - 1} more are" if len(stretched) > 1 else " is"
            self.messages.notice(
                f"{name_of(stretched[0])}{more} stretched: the recipe {recipe.name} gives its "
                "pictures a shape of its own"
            )
        if recipe.scales.style_like_content:
            self.messages.notice(
                f"the recipe {recipe.name} stretches styles to the shape of the result"
            )

    def end(self) -> None:
        """Wait for what has been painted to be saved; nothing more is."""
        self.writer.shutdown()
        if self.engine is not None:
            self.engine.close()

    def fits(self, bucket: Bucket, engine: "Engine") -> bool:
        """Choose a bucket's lanes; where not even one fits, its rows have ended."""
        try:
            bucket.lanes = self.lanes(bucket, engine)
        except ValueError as error:
            for task in bucket.tasks:
                if task.row.output not in self.settled:
                    self.fail(task, error)
            return False
        return True

    def lanes(self, bucket: Bucket, engine: "Engine") -> int:
        """Choose how many lanes a bucket's batches have: as before, if there was a before."""
        from jaxnst.optim.sharding import lanes_of

        most, count = self.at_once, engine.devices
        if most is None:
            before = self.ledger.lanes((task.row, task.settings) for task in bucket.tasks)
            if before is not None:
                return before
            first = bucket.tasks[0]
            allowed = first.flags.max_memory
            fitting = engine.most(bucket.schedule, first.recipe, allowed, bucket.pictures)
            most = AT_ONCE * count if fitting is None else min(AT_ONCE * count, fitting)
        share = -(-len(bucket.tasks) // engine.workers)  # none is to stand idle
        return lanes_of(len(bucket.tasks), most if engine.workers == 1 else min(most, share), count)

    def paint_all(self, waiting: Waiting, engine: "Engine") -> None:
        """Paint as many batches at a time as the engine does, and read as many ahead."""
        writing: list[Future[None]] = []
        begun: dict[Future[list[Painted] | None], Batch] = {}
        reader = ThreadPoolExecutor(1, "jaxnst-read")
        painters = ThreadPoolExecutor(engine.workers, "jaxnst-paint")
        try:
            while waiting.todo or begun:
                while waiting.todo and len(begun) < 2 * engine.workers:
                    batch = waiting.begin()
                    reading = reader.submit(self.read, batch)
                    begun[painters.submit(self.paint_if_it_fits, batch, reading)] = batch
                for future in wait(begun, return_when=FIRST_COMPLETED).done:
                    batch, found = begun.pop(future), future.result()
                    self.settled.update(task.row.output for task, _ in found or ())
                    waiting.end(batch, fitted=found is not None)
                    for earlier in writing:
                        earlier.result()
                    writing = [self.writer.submit(self.write, *one, batch) for one in found or ()]
            for last in writing:
                last.result()
        finally:
            reader.shutdown(cancel_futures=True)
            painters.shutdown(cancel_futures=True)

    def paint_if_it_fits(
        self, batch: Batch, reading: Future[dict[int, Pictures]]
    ) -> "list[Painted] | None":
        """Paint a batch once it is read; None: it has too many lanes for the memory."""
        loaded, bucket = reading.result(), batch.bucket
        if batch.lanes > bucket.lanes:
            return None
        try:
            return list(self.paint(batch, loaded)) if loaded else []
        except MemoryError:
            bucket.lanes = -(-batch.lanes // 2)
            return None

    def read(self, batch: Batch) -> dict[int, Pictures]:
        """Load the pictures of a batch by lane; a row whose pictures cannot be used has ended."""
        from jaxnst.transfer.guidance import make_guidance
        from jaxnst.transfer.style_cache import StyleImage

        found: dict[int, Pictures] = {}
        loaded: dict[str, Pixels] = {}
        known: dict[str, StyleImage] = {}
        for lane, task in enumerate(batch.tasks):
            if task.row.output in self.settled:
                continue
            try:
                # As they are when they are read: they may be replaced before the picture is saved.
                self.seen[task.row.output] = inputs(task.row)
                for path in (task.row.content, *task.row.styles):
                    if path not in loaded:
                        picture = load_image(path, alpha=True)
                        check_side(picture, path)
                        loaded[path], known[path] = picture, StyleImage(picture)
                content, styles = task.row.content, task.row.styles
                # Here, and not when all are painted, it is known whose they are.
                mix = style_mix_of(task.flags)
                make_guidance(known[content], [known[path] for path in styles], style_mix=mix)
                found[lane] = loaded[content], [loaded[path] for path in styles]
            except (OSError, ValueError, MemoryError) as error:
                self.fail(task, error)
        return found

    def paint(
        self, batch: Batch, loaded: dict[int, Pictures], failed: list[str] | None = None
    ) -> Iterator["Painted"]:
        """Paint what is loaded of a batch, in its lanes; the others are filled with a copy.

        If that fails, halves are painted, down to the rows that fail by themselves, still in their
        lanes: what comes of a row does not depend on who else is painted. Where two rows in turn
        fail as all did, it is not for what they are, and the rest is not tried any more.

        Args:
          batch: Its rows.
          loaded: Their pictures, by lane.
          failed: Why rows failed by themselves, since the last that did not.

        Raises:
          MemoryError: Fewer lanes may fit.
        """
        from jaxnst.cli.engine import EngineError, Order

        assert self.engine is not None
        first, *_ = here = list(loaded)
        lanes = [lane if lane in loaded else first for lane in range(batch.lanes)]
        tasks = [batch.tasks[lane] for lane in lanes]
        order = Order(
            [loaded[lane][0] for lane in lanes],
            [loaded[lane][1] for lane in lanes],
            recipe=[task.recipe for task in tasks],
            size=tasks[0].flags.size,
            style_size=tasks[0].flags.style_size,
            style_mix=style_mix_of(tasks[0].flags),
            seed=[task.flags.seed for task in tasks],
            only=here,
        )
        size = shape(batch.bucket.schedule.size)
        try:
            results = self.engine.paint(order, partial(self.tell, f"{len(here)} at once of {size}"))
        except EngineError:
            raise
        except Exception as error:
            full = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
            if full and batch.lanes > 1:
                raise MemoryError(str(error)) from error
            failed = [] if failed is None else failed
            if len(here) == 1:
                failed.append(str(error))
                self.fail(tasks[here[0]], error)
                return
            for half in (here[: len(here) // 2], here[len(here) // 2 :]):
                if failed[-2:] == [str(error)] * 2:
                    for lane in half:
                        self.fail(tasks[lane], error)
                else:
                    yield from self.paint(batch, {lane: loaded[lane] for lane in half}, failed)
            return
        if failed:
            failed.clear()
        for lane, result in zip(here, results, strict=True):
            if isinstance(result, ValueError):
                self.fail(batch.tasks[lane], result)
            else:
                yield batch.tasks[lane], result

    def write(self, task: Task, result: "StylizeResult", batch: Batch) -> None:
        """Save a picture, and only then say so in the log."""
        try:
            save_picture(task.row.output, result.image, **save_options(task.flags))
            facts = {
                "inputs": self.seen[task.row.output],
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
            self.ledger.write(task.row, task.settings, **facts, error=None)
        print_path(task.row.output)

    def fail(self, task: Task, error: Exception) -> None:
        """Note that a row has failed."""
        text = explain(error)
        with self.counting:
            self.settled.add(task.row.output)
            self.failed += 1
            self.ledger.write(task.row, task.settings, error=text)
        self.messages.say(f"{self.messages.prog}: {name_of(task.row.output)} failed: {text}")

    def tell(self, what: str, progress: str) -> None:
        """Say every few seconds how far it is."""
        ended = self.finished + self.failed
        self.messages.now_and_then(f"{ended}/{self.left} pictures; {what}: {progress}")
