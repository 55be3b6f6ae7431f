"""What paints the batches of ``jaxnst batch``: this process, or others.

Rows, files, the log and the forming of batches belong to :mod:`jaxnst.cli.work`. An engine takes
arrays and returns results; :mod:`jaxnst.cli.ray_engine` does so through a Ray cluster.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import jax

from jaxnst.cli.device import clear_programs, devices_beside
from jaxnst.cli.job import memory_of_each, open_network, runs_side_by_side
from jaxnst.cli.messages import amount
from jaxnst.cli.parser import RunFlags
from jaxnst.image.color import Pixels
from jaxnst.networks import LossNetwork
from jaxnst.optim.sharding import threads_of
from jaxnst.recipes.schema import Recipe
from jaxnst.transfer import batch
from jaxnst.transfer.guidance import StyleMix
from jaxnst.transfer.memory import make_plan
from jaxnst.transfer.pyramid import Schedule
from jaxnst.transfer.result import StylizeResult
from jaxnst.transfer.style_cache import StyleCache

if TYPE_CHECKING:
    from jaxnst.cli.ray_engine import RayEngine


class Order(NamedTuple):
    """One batch: arguments of :func:`jaxnst.stylize_batch`, one entry for each lane."""

    contents: list[Pixels]
    styles: list[list[Pixels]]
    recipe: list[Recipe]
    size: int | None
    style_size: int | None
    style_mix: StyleMix | None
    seed: list[int]
    only: list[int]


Outcome = StylizeResult | ValueError
"""The result of one picture, or what is wrong with it alone."""


Report = Callable[[float, str], None]
"""Receives the share of a batch that is done, 0 to 1, and a text on it."""


class EngineError(OSError):
    """Nothing can be painted any more, whatever the batch."""


Engine: TypeAlias = "LocalEngine | RayEngine"
"""What paints ``workers`` batches at a time, each in a thread that calls ``paint``.

A batch is divided between ``devices``. ``threads`` is how many threads of a CPU paint it; None: it
is not a CPU. ``close`` may be called while something is painted, and again."""


class LocalEngine:
    """This process, and its devices, between which a batch is divided."""

    workers = 1

    def __init__(self, network: LossNetwork, devices: list[jax.Device]) -> None:
        self.network, self.all_devices, self.devices = network, devices, len(devices)
        self.threads, self.platform = threads_of(devices[0]), devices[0].platform
        self.store = StyleCache()

    def most(
        self, schedule: Schedule, recipe: Recipe, allowed: int | None, pictures: int
    ) -> int | None:
        """Return how many lanes fit into memory; None if unknown.

        ``pictures`` is how many bytes the pictures of each take. Of the memory, ``allowed`` bytes
        may be used; None: all that is available.

        Raises:
          ValueError: Not even one does.
        """
        memory = memory_of_each(self.all_devices, allowed)
        kind, host = (schedule, recipe, self.network), self.threads is not None
        needed = make_plan(*kind, pictures=2 * pictures, host=host).bytes_again
        if memory is not None and needed > memory:
            raise ValueError(
                f"size {max(schedule.size)} needs about {amount(needed)} of memory, "
                f"{amount(memory)} is available: use a smaller --size, or jaxnst run, which can "
                "use less"
            )
        return runs_side_by_side(
            *kind, self.all_devices, memory, pictures=pictures, shared=pictures
        )

    def paint(self, order: Order, report: Report) -> Sequence[Outcome]:
        """Paint a batch; ``report`` is called now and then with the progress."""
        clear_programs()
        try:
            return batch.stylize_batch(
                **order._asdict(),
                network=self.network,
                devices=self.all_devices,
                store=self.store,
                callback=lambda now: report(
                    now.done / now.total, f"{now.done}/{now.total} evaluations"
                ),
            )
        except batch.PairsError as failed:
            return [failed.results.get(i) or failed.errors[i] for i in order.only]

    def close(self) -> None:
        """Do nothing: memory is freed with the process."""


def open_local(flags: RunFlags, recipe: Recipe) -> LocalEngine:
    """Choose devices and load the network, as :func:`jaxnst.cli.job.open_network` does."""
    device, network = open_network(flags, recipe)
    return LocalEngine(network, devices_beside(device, flags.device))
