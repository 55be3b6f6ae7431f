"""A run with all that it needs: flags, recipe, pictures, device and network."""

import argparse
import sys
from dataclasses import dataclass
from importlib.util import find_spec

import jax

from jaxnst.cli.device import available_memory, describe, use_device
from jaxnst.cli.errors import UsageError
from jaxnst.cli.inputs import Pictures
from jaxnst.cli.messages import amount
from jaxnst.cli.weights import fetch_with_bar
from jaxnst.config import Recipe
from jaxnst.networks import NETWORKS, LossNetwork, load_network
from jaxnst.objective import make_objective
from jaxnst.optimize import make_method
from jaxnst.planning import Plan, make_plan
from jaxnst.recipes import STAND_IN, is_approximation
from jaxnst.weights.fetch import fetched_path, official_file


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


def _check_layers(recipe: Recipe, name: str) -> None:
    """Refuse a network without the recipe's layers, before its parameters are looked for.

    Raises:
      UsageError: It lacks one.
    """
    module = NETWORKS[name].module
    wanted = [layer for layer, _ in (*recipe.content.layers, *recipe.style.layers)]
    missing = [layer for layer in wanted if module.alias(layer) not in module.table()]
    if missing:
        raise UsageError(
            f"{name} has no layer {missing[0]}, which the recipe {recipe.name} looks at: that is "
            f"for {recipe.network}; --show-recipe {recipe.name} prints a file to change"
        )


def _fetch_if_wanted(recipe: Recipe, name: str, *, yes: bool) -> None:
    """Make sure that a network's parameters are there; download them if the person agrees.

    Raises:
      UsageError: They are not, and nobody agreed.
    """
    if fetched_path(name).is_file():
        return
    try:
        known = official_file(name)
    except KeyError:
        raise UsageError(
            f"{name} does not ship with jaxnst, and no official file of it is published: give its "
            "parameters by --weights FILE"
        ) from None
    size = f", {amount(known.size)}" if known.size else ""
    if known.format == "torch" and find_spec("torch") is None:
        raise UsageError(
            f"{name} takes {known.name}, which PyTorch reads: install it (pip install torch), or "
            "give parameters in another form by --weights FILE"
        )
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        print(
            f"{name} takes {known.name} ({known.origin}; {known.licence}{size}).", file=sys.stderr
        )
        print("Download it? [y/N] ", end="", file=sys.stderr, flush=True)
        yes = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not yes:
        raise UsageError(
            f"{name} does not ship with jaxnst: --yes downloads {known.name}{size}; without a "
            f"network, get {known.url} by other means and give it by --weights FILE"
            + (f"; --network {STAND_IN} approximates it" if recipe.approximation else "")
        )
    fetch_with_bar(name)


def make_job(flags: argparse.Namespace, recipe: Recipe, pictures: Pictures) -> Job:
    """Choose the device and load the network.

    Raises:
      UsageError: If there is no such device, network or layer.
      OSError: If the network's parameters cannot be read.
      ValueError: If they are damaged, or those of another network.
    """
    device = use_device(flags.device)
    name = flags.network or recipe.network
    if name in NETWORKS:
        _check_layers(recipe, name)
        if NETWORKS[name].file is None and flags.weights is None:
            _fetch_if_wanted(recipe, name, yes=flags.yes)
    try:
        network = load_network(name, weights=flags.weights, preprocessing=flags.preprocessing)
        make_objective(recipe, network)  # its layers and statistic have to exist
    except KeyError as error:
        raise UsageError(str(error.args[0])) from error
    make_method(recipe)
    return Job(flags, recipe, pictures, device, network)
