"""Which rows of a batch run side by side: those of one program, in lanes that never change.

Batches are formed of all rows, not of those that are left: a row that is painted after a stop goes
through the same program in the same lane, and comes out byte-identical on a CPU of as many threads.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from jaxnst.cli.manifest import Row
from jaxnst.cli.parser import RunFlags
from jaxnst.image import image_size, same_shape
from jaxnst.image.costs import keeping_bytes
from jaxnst.recipes.schema import Recipe
from jaxnst.transfer.pyramid import Schedule, make_schedule

AT_ONCE = 8


class Task(NamedTuple):
    """A row with its flags read: what is to be painted."""

    row: Row
    flags: RunFlags
    recipe: Recipe
    settings: str


@dataclass(eq=False)
class Bucket:
    """Rows of one program.

    Attributes:
      tasks: In the order of the rows.
      schedule: Of the first.
      lanes: Of every batch.
      stretched: Contents whose shape the result does not keep.
      pictures: Bytes that the pictures of a lane take at most: while one batch is painted, the
        pictures of the next are read.
    """

    tasks: list[Task]
    schedule: Schedule
    lanes: int = 1
    stretched: list[str] = field(default_factory=list)
    pictures: int = 0

    def batches(self) -> Iterator["Batch"]:
        """Divide the rows, in their order."""
        for i in range(0, len(self.tasks), self.lanes):
            yield Batch(self, self.tasks[i : i + self.lanes], self.lanes)


class Batch(NamedTuple):
    """Rows that run side by side, a lane each; there may be more lanes than rows."""

    bucket: Bucket
    tasks: list[Task]
    lanes: int


class Waiting:
    """Batches that are still to be painted, of which several may be painted at a time.

    Once a batch had too many lanes for the memory, its bucket is divided anew, into half as many
    lanes, as soon as none of its batches is painted any more.
    """

    def __init__(self, buckets: list[Bucket]) -> None:
        self.todo = deque(batch for bucket in buckets for batch in bucket.batches())
        self.begun: list[Batch] = []
        self.halved: set[Bucket] = set()

    def begin(self) -> "Batch":
        """Take the next one."""
        batch = self.todo.popleft()
        self.begun.append(batch)
        return batch

    def end(self, batch: "Batch", *, fitted: bool) -> None:
        """Note that one has ended, and whether it did not fit; its rows are settled by now."""
        bucket = batch.bucket
        self.begun = [other for other in self.begun if other is not batch]
        if not fitted:
            self.halved.add(bucket)
            self.todo = deque(other for other in self.todo if other.bucket is not bucket)
        if bucket in self.halved and all(other.bucket is not bucket for other in self.begun):
            self.halved.remove(bucket)
            self.todo.extendleft(reversed(list(bucket.batches())))


def make_buckets(tasks: list[Task], fail: Callable[[Task, Exception], None]) -> list[Bucket]:
    """Sort rows by the programs that they need.

    Args:
      tasks: All of them.
      fail: Told of rows whose content cannot be looked at.
    """
    buckets: dict[Hashable, Bucket] = {}
    styles = {style: _bytes(style) for task in tasks for style in task.row.styles}
    for i, task in enumerate(tasks):
        try:
            size = image_size(task.row.content)
            schedule = make_schedule(size, [], task.recipe.scales, size=task.flags.size)
        except (OSError, ValueError) as error:
            fail(task, error)
            continue
        bucket = buckets.setdefault(_program(i, task, schedule), Bucket([], schedule))
        bucket.tasks.append(task)
        if task.recipe.scales.aspect is not None and not same_shape(size, schedule.size):
            bucket.stretched.append(task.row.content)
        own = keeping_bytes((*size, 3)) + sum(styles[style] for style in task.row.styles)
        bucket.pictures = max(bucket.pictures, own)
    return list(buckets.values())


def _bytes(path: str) -> int:
    """Estimate what a style's picture takes; what cannot be looked at fails when it is read."""
    try:
        return keeping_bytes((*image_size(path), 3))
    except (OSError, ValueError):
        return 0


def _program(index: int, task: Task, schedule: Schedule) -> Hashable:
    """Say what decides a row's program, as :mod:`jaxnst.transfer.batch` does of pictures."""
    scales = tuple((scale.inner, scale.evaluations) for scale in schedule.scales)
    alone = index if task.recipe.solver.line_search != "fixed" else -1
    pictures = (task.row.content, *task.row.styles) if task.recipe.unit_means else ()
    return scales, pictures, alone
