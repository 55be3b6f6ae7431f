"""A run with all that it needs: flags, recipe, pictures, device and network."""

import argparse
from dataclasses import dataclass

import jax

from jaxnst.cli.device import available_memory, describe, use_device
from jaxnst.cli.inputs import Pictures
from jaxnst.cli.loading import load_for
from jaxnst.config import Recipe
from jaxnst.networks import LossNetwork
from jaxnst.objective import make_objective
from jaxnst.optimize import make_method
from jaxnst.planning import Plan, make_plan
from jaxnst.recipes import STAND_IN, is_approximation


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

    @property
    def recipe_name(self) -> str:
        """What its recipe is called, and whether it is only an approximation of that."""
        approximates = " (an approximation)" if is_approximation(self.recipe) else ""
        return self.recipe.name + approximates

    def __str__(self) -> str:
        return f"{self.network.name} on {describe(self.device)}, recipe {self.recipe_name}"


def make_job(flags: argparse.Namespace, recipe: Recipe, pictures: Pictures) -> Job:
    """Choose the device and load the network.

    Raises:
      UsageError: If there is no such device, network or layer.
      OSError: If the network's parameters cannot be read.
      ValueError: If they are damaged, or those of another network.
    """
    device = use_device(flags.device)
    layers = [layer for layer, _ in (*recipe.content.layers, *recipe.style.layers)]
    network = load_for(
        flags.network or recipe.network,
        layers,
        flags,
        why=f", which the recipe {recipe.name} looks at: that is for {recipe.network}; "
        f"--show-recipe {recipe.name} prints a file to change",
        instead=f"; --network {STAND_IN} approximates it" if recipe.approximation else "",
    )
    make_objective(recipe, network)  # its statistic and distance have to exist
    make_method(recipe)
    return Job(flags, recipe, pictures, device, network)
