"""The work of ``jaxnst batch``: while one batch is painted the next is read and the last written.

Every row that has ended is a line in the log. A row that fails costs only itself; only a log that
cannot be written stops everything.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from jaxnst._files import name_of
from jaxnst.cli.buckets import AT_ONCE, Batch, Bucket, Task, make_buckets
from jaxnst.cli.errors import explain
from jaxnst.cli.ledger import Ledger, inputs
from jaxnst.cli.messages import Messages, length, shape
from jaxnst.cli.saving import print_path
from jaxnst.image import check_side, load_image, save_image
from jaxnst.srgb import Pixels

if TYPE_CHECKING:
    import jax

    from jaxnst.batch import BatchProgress
    from jaxnst.networks import LossNetwork
    from jaxnst.result import StylizeResult
    from jaxnst.targets import StyleStore

Pictures = tuple[Pixels, list[Pixels]]


class Work:
    """All rows, which of them have ended, and how far the others are.

    Args:
      tasks: All rows.
      done: Outputs of those that were done before.
      at_once: Most lanes, if the person said so.
      ledger: The log.
      messages: Where progress is told.
    """

    def __init__(
        self,
        tasks: list[Task],
        done: set[str],
        at_once: int | None,
        ledger: Ledger,
        messages: Messages,
    ) -> None:
        self.tasks, self.at_once, self.ledger, self.messages = tasks, at_once, ledger, messages
        self.settled = set(done)  # needs no painting any more
        self.left = len(tasks) - len(done)
        self.finished = self.failed = 0
        self.counting = threading.Lock()  # rows end in three threads
        self.begin = time.monotonic()
        self.writer = ThreadPoolExecutor(1, "jaxnst-write")
        self.network: LossNetwork
        self.devices: list[jax.Device]
        self.store: StyleStore

    def all(self) -> int:
        """Paint everything; return how many rows failed."""
        from jaxnst.cli.device import devices_beside, keep_programs
        from jaxnst.cli.job import open_network, tell_of_method
        from jaxnst.targets import StyleStore

        flags, recipe = self.tasks[0].flags, self.tasks[0].recipe
        device, self.network = open_network(flags, recipe)
        self.devices, self.store = devices_beside(device, flags.device), StyleStore()
        tell_of_method(recipe, self.network, self.messages)
        if not flags.no_cache and (trouble := keep_programs()):
            self.messages.notice(trouble)
        buckets = make_buckets(self.tasks, self.fail)
        for bucket in buckets:
            bucket.lanes = self.lanes(bucket)
        try:
            self.paint_all(deque(batch for bucket in buckets for batch in bucket.batches()))
        finally:
            self.finish_writing()
        seconds = time.monotonic() - self.begin
        self.messages.say(
            f"{self.finished} pictures in {length(seconds)}, {self.failed} failed: "
            f"{name_of(self.ledger.path)}"
        )
        return self.failed

    def finish_writing(self) -> None:
        """Wait for what has been painted to be saved; nothing more is."""
        self.writer.shutdown()

    def lanes(self, bucket: Bucket) -> int:
        """Choose how many lanes a bucket's batches have: as before, if there was a before."""
        from jaxnst.cli.job import runs_side_by_side
        from jaxnst.lanes import lanes_of

        most, count = self.at_once, len(self.devices)
        if most is None:
            before = self.ledger.lanes((task.row, task.settings) for task in bucket.tasks)
            if before is not None:
                return before
            recipe = bucket.tasks[0].recipe
            fitting = runs_side_by_side(
                bucket.schedule,
                recipe,
                self.network,
                self.devices,
                allowed=bucket.tasks[0].flags.max_memory,
            )
            most = AT_ONCE * count if fitting is None else min(AT_ONCE * count, fitting)
        return lanes_of(len(bucket.tasks), most, count)

    def paint_all(self, todo: deque[Batch]) -> None:
        """Paint batch after batch; one of too many lanes for the memory is divided anew."""
        writing: list[Future[None]] = []
        with ThreadPoolExecutor(1, "jaxnst-read") as reader:
            ahead: tuple[Batch, Future[dict[int, Pictures]]] | None = None
            while todo:
                batch = todo.popleft()
                reading = (
                    ahead[1] if ahead and ahead[0] is batch else reader.submit(self.read, batch)
                )
                loaded = reading.result()
                ahead = (todo[0], reader.submit(self.read, todo[0])) if todo else None
                try:
                    found = list(self.paint(batch, loaded)) if loaded else []
                except MemoryError:
                    bucket = batch.bucket
                    bucket.lanes = -(-batch.lanes // 2)
                    others = [other for other in todo if other.bucket is not bucket]
                    todo = deque([*bucket.batches(), *others])
                    continue
                self.settled.update(task.row.output for task, _ in found)
                for future in writing:
                    future.result()
                writing = [self.writer.submit(self.write, *one, batch.lanes) for one in found]
            for future in writing:
                future.result()

    def read(self, batch: Batch) -> dict[int, Pictures]:
        """Load the pictures of a batch by lane; a row whose pictures cannot be read has ended."""
        found: dict[int, Pictures] = {}
        known: dict[str, Pixels] = {}
        for lane, task in enumerate(batch.tasks):
            if task.row.output in self.settled:
                continue
            try:
                for path in (task.row.content, *task.row.styles):
                    if path not in known:
                        picture = load_image(path)
                        check_side(picture, path)
                        known[path] = picture
                found[lane] = known[task.row.content], [known[path] for path in task.row.styles]
            except (OSError, ValueError, MemoryError) as error:
                self.fail(task, error)
        return found

    def paint(
        self, batch: Batch, loaded: dict[int, Pictures]
    ) -> Iterator[tuple[Task, "StylizeResult"]]:
        """Paint what is loaded of a batch, in its lanes; the others are filled with a copy.

        Raises:
          MemoryError: Fewer lanes may fit.
        """
        from jaxnst.batch import stylize_batch

        first, *_ = here = list(loaded)
        lanes = [lane if lane in loaded else first for lane in range(batch.lanes)]
        tasks = [batch.tasks[lane] for lane in lanes]
        try:
            results = stylize_batch(
                [loaded[lane][0] for lane in lanes],
                [loaded[lane][1] for lane in lanes],
                network=self.network,
                recipe=[task.recipe for task in tasks],
                size=tasks[0].flags.size,
                style_size=tasks[0].flags.style_size,
                seed=[task.flags.seed for task in tasks],
                devices=self.devices,
                only=here,
                store=self.store,
                callback=partial(self.tell, shape(batch.bucket.schedule.size)),
            )
        except Exception as error:
            full = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
            if full and batch.lanes > 1:
                raise MemoryError(str(error)) from error
            for lane in here:
                self.fail(batch.tasks[lane], error)
            return
        yield from zip((batch.tasks[lane] for lane in here), results, strict=True)

    def write(self, task: Task, result: "StylizeResult", lanes: int) -> None:
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
                "lanes": lanes,
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
            self.settled.add(task.row.output)
            self.failed += 1
            self.ledger.write(task.row, task.settings, error=text)
        self.messages.say(f"{self.messages.prog}: {name_of(task.row.output)} failed: {text}")

    def tell(self, size: str, progress: "BatchProgress") -> None:
        """Say every few seconds how far it is."""
        self.messages.now_and_then(
            f"{self.finished + self.failed}/{self.left} pictures; {len(progress.pairs)} at once of "
            f"{size}: {progress.done}/{progress.total} evaluations"
        )
