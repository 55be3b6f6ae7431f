"""A run with all that it needs: flags, recipe, pictures, device and network."""

import argparse
from dataclasses import dataclass

import jax

from jaxnst.cli.device import available_memory, describe, use_device
from jaxnst.cli.errors import UsageError
from jaxnst.cli.inputs import Pictures
from jaxnst.config import Recipe
from jaxnst.networks import NETWORKS, LossNetwork, load_network
from jaxnst.objective import make_objective
from jaxnst.optimize import make_method
from jaxnst.planning import Plan, make_plan


@dataclass(frozen=True)
class Job:
    """A run before it begins."""

    flags: argparse.Namespace
    recipe: Recipe
    pictures: Pictures
    device: jax.Device
    network: LossNetwork

    def plan(self, size: int | None = None) -> Plan:
        """Work out what it takes, at the size asked for or another."""
        flags, pictures = self.flags, self.pictures
        size = flags.size if size is None else size
        return make_plan(
            pictures.schedule(self.recipe, size, flags.style_size),
            self.recipe,
            self.network,
            pictures=pictures.pixels,
            host=self.device.platform == "cpu",
        )

    @property
    def available(self) -> int | None:
        """Memory that can still be had on its device, bytes."""
        return available_memory(self.device)

    def __str__(self) -> str:
        return f"{self.network.name} on {describe(self.device)}, recipe {self.recipe.name}"


def make_job(flags: argparse.Namespace, recipe: Recipe, pictures: Pictures) -> Job:
    """Choose the device and load the network.

    Raises:
      UsageError: If there is no such device, network or layer.
      OSError: If the network's parameters cannot be read.
      ValueError: If they are damaged, or those of another network.
    """
    device = use_device(flags.device)
    name = flags.network or recipe.network
    if name in NETWORKS and NETWORKS[name].file is None and flags.weights is None:
        raise UsageError(f"{name} does not ship with jaxnst: give its parameters by --weights FILE")
    try:
        network = load_network(name, weights=flags.weights, preprocessing=flags.preprocessing)
        make_objective(recipe, network)  # its layers and statistic have to exist
    except KeyError as error:
        raise UsageError(str(error.args[0])) from error
    make_method(recipe)
    return Job(flags, recipe, pictures, device, network)
