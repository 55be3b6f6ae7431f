"""A run with all that it needs: flags, recipe, pictures, device and network."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax

from jaxnst.cli.device import available_memory, describe, devices_beside, use_device
from jaxnst.cli.errors import UsageError, blaming_flags
from jaxnst.cli.flags import style_mix_of
from jaxnst.cli.inputs import Pictures
from jaxnst.cli.loading import load_for
from jaxnst.cli.messages import Messages, amount
from jaxnst.losses.objective import make_objective
from jaxnst.networks import LossNetwork
from jaxnst.optim import lbfgs
from jaxnst.optim.sharding import threads_of
from jaxnst.optim.solvers import make_method
from jaxnst.recipes import STAND_IN, is_approximation
from jaxnst.recipes.schema import ONE_PASS, SHIPPED, Recipe
from jaxnst.transfer.guidance import Guidance, make_guidance
from jaxnst.transfer.memory import Plan, make_plan, runs_that_fit
from jaxnst.transfer.pyramid import Schedule
from jaxnst.transfer.style_cache import StyleImage


@dataclass(frozen=True)
class Job:
    """A run before it begins.

    Attributes:
      flags: Of the command.
      recipe: The method.
      pictures: What was read.
      device: What it runs on.
      network: The loss network.
      guidance: Which style goes where.
      remat: Whether feature maps are computed anew for the gradient, to save memory.
      loop: Bytes that XLA says its largest loop takes, or None where it was not asked.
    """

    flags: argparse.Namespace
    recipe: Recipe
    pictures: Pictures
    device: jax.Device
    network: LossNetwork
    guidance: Guidance
    remat: bool = False
    loop: int | None = None

    def plan(self) -> Plan:
        """Work out what it takes."""
        flags, pictures = self.flags, self.pictures
        return make_plan(
            pictures.schedule(self.recipe, flags.size, flags.style_size),
            self.recipe,
            self.network,
            pictures=pictures.bytes,
            reading=pictures.reading,
            host=self.device.platform == "cpu",
            remat=self.remat,
            loop=self.loop,
        )

    @property
    def style_mix(self) -> dict[str, tuple[float, ...]] | None:
        """How much of each style there is, by layer, if that is said."""
        return style_mix_of(self.flags)

    @property
    def devices(self) -> list[jax.Device]:
        """Those between which a batch of such runs is divided."""
        return devices_beside(self.device, self.flags.device)

    @property
    def threads(self) -> int | None:
        """How many threads of a CPU it runs on; None if its device is not a CPU."""
        return threads_of(self.device)

    def at_once(self) -> int | None:
        """Work out how many such runs fit into memory side by side; None: nobody knows."""
        return runs_side_by_side(
            self.plan().schedule,
            self.recipe,
            self.network,
            self.devices,
            allowed=self.flags.max_memory,
            remat=self.remat,
            shared=self.pictures.bytes,
        )

    @property
    def limit(self) -> int | None:
        """Memory that it may take, bytes: what is allowed, else what can be had on its device."""
        allowed: int | None = self.flags.max_memory
        return available_memory(self.device) if allowed is None else allowed

    @property
    def recipe_name(self) -> str:
        """What its recipe is called, and whether it is only an approximation of that."""
        approximates = " (an approximation)" if is_approximation(self.recipe) else ""
        return self.recipe.name + approximates

    def __str__(self) -> str:
        return f"{self.network.name} on {describe(self.device)}, recipe {self.recipe_name}"


def runs_side_by_side(
    schedule: Schedule,
    recipe: Recipe,
    network: LossNetwork,
    devices: Sequence[jax.Device],
    *,
    allowed: int | None = None,
    remat: bool = False,
    pictures: int = 0,
    shared: int = 0,
) -> int | None:
    """Work out how many runs of one kind fit into the memory of devices; None: nobody knows.

    Args:
      schedule: Of each.
      recipe: Of each.
      network: Of each.
      devices: Of one kind.
      allowed: Bytes that may be taken of each device, or of the host's in all; None: what there is.
      remat: Whether feature maps are computed anew for the gradient.
      pictures: Bytes of the pictures of each run.
      shared: Bytes of the pictures that all runs have in common.
    """
    host = devices[0].platform == "cpu"
    least = _least(devices, allowed)
    each = runs_that_fit(
        schedule,
        recipe,
        network,
        least,
        host=host,
        remat=remat,
        pictures=pictures,
        shared=shared,
    )
    # Virtual devices of a host share its memory.
    return each if each is None or host else each * len(devices)


def refuse_too_large(
    schedule: Schedule,
    recipe: Recipe,
    network: LossNetwork,
    devices: Sequence[jax.Device],
    *,
    allowed: int | None = None,
    pictures: int = 0,
) -> None:
    """Refuse a kind of run of which not even one fits into the memory of devices.

    Args:
      schedule: As :func:`runs_side_by_side`, like all others.
      recipe: As there.
      network: As there.
      devices: As there.
      allowed: As there.
      pictures: Bytes of its pictures.

    Raises:
      ValueError: It does not fit.
    """
    least = _least(devices, allowed)
    host = devices[0].platform == "cpu"
    needed = make_plan(schedule, recipe, network, pictures=pictures, host=host).bytes_again
    if least is not None and needed > least:
        raise ValueError(
            f"size {max(schedule.size)} takes about {amount(needed)} of memory and {amount(least)} "
            "are available: take a smaller --size, or jaxnst run, which can do with less"
        )


def _least(devices: Sequence[jax.Device], allowed: int | None) -> int | None:
    """Return the memory that may be taken of any of the devices."""
    found = [allowed or available_memory(device) for device in devices]
    return None if None in found else min(n for n in found if n is not None)


def make_job(flags: argparse.Namespace, recipe: Recipe, pictures: Pictures) -> Job:
    """Choose the device and load the network.

    Raises:
      UsageError: As :func:`open_network`, or the mixture does not go with styles, masks or layers.
      OSError: If the network's parameters cannot be read.
      ValueError: If they are damaged, or those of another network; or masks do not go with the
        pictures.
    """
    device, network = open_network(flags, recipe)
    lay_out = partial(
        make_guidance,
        StyleImage(pictures.content),
        [StyleImage(style) for style in pictures.styles],
        masks=pictures.masks,
        style_masks=pictures.style_masks,
    )
    lay_out()  # what is wrong without a mixture is wrong with the pictures
    with blaming_flags():
        styles, guidance = lay_out(style_mix=style_mix_of(flags))
        objective = make_objective(recipe, network)
        guidance.mixture(objective.network, objective.style_layers, len(styles))
    return Job(flags, recipe, pictures, device, network, guidance)


def open_network(flags: argparse.Namespace, recipe: Recipe) -> tuple[jax.Device, LossNetwork]:
    """Choose the device and load the recipe's network, as the flags say.

    Raises:
      UsageError: If there is no such device, network, layer, statistic, distance or solver, or a
        statistic does not go with a distance.
      OSError: If the network's parameters cannot be read.
      ValueError: If they are damaged, or those of another network.
    """
    name = flags.network or recipe.network
    if name == ONE_PASS:
        raise UsageError(f"{name} is for jaxnst instant alone now: give --network {SHIPPED}")
    device = use_device(flags.device, deterministic=flags.deterministic)
    layers = [layer for layer, _ in (*recipe.content.layers, *recipe.style.layers)]
    network = load_for(
        name,
        layers,
        flags,
        why=f", which the recipe {recipe.name} looks at: that is for {recipe.network}; "
        f"--show-recipe {recipe.name} prints a file to change",
        instead=f"; --network {STAND_IN} approximates it" if recipe.approximation else "",
    )
    with blaming_flags():  # what they name has to exist
        make_objective(recipe, network)
        make_method(recipe)
    return device, network


def tell_of_method(recipe: Recipe, network: LossNetwork, messages: Messages) -> None:
    """Give notice of what differs from what a recipe's name promises."""
    if recipe.solver.kind == "lbfgs" and lbfgs.jaxopt() is None:
        messages.notice("jaxopt cannot be imported, so L-BFGS runs on optax")
    if is_approximation(recipe):
        messages.notice(
            f"{network.name} stands in for the network of {recipe.name}: the picture is "
            "an approximation of what that makes"
        )
    if recipe.unit_means and not network.unit_means:
        messages.notice(
            f"each filter of {network.name} is rescaled to a mean activation of 1 over your "
            f"pictures, which the weights of {recipe.name} are for"
        )
