"""The network of a command: checked for its layers, downloaded if the user agrees, and loaded."""

import argparse
import sys
from collections.abc import Sequence

from jaxnst.cli.errors import UsageError
from jaxnst.cli.flags import LoadFlags
from jaxnst.cli.messages import amount
from jaxnst.cli.weights import fetch_with_bar
from jaxnst.networks import NETWORKS, LossNetwork, load_network
from jaxnst.weights import read_parameters
from jaxnst.weights.fetch import is_fetched, official_file


def load_for(
    name: str,
    layers: Sequence[str],
    flags: LoadFlags | argparse.Namespace,
    *,
    why: str = "",
    instead: str = "",
) -> LossNetwork:
    """Load the network that a command works with, if it has the layers that are going to be used.

    ``why`` continues the error that it lacks one, ``instead`` the error that its parameters are
    missing.

    Raises:
      UsageError: If there is no such network or layer, or its parameters are missing.
      OSError: If they cannot be read.
      ValueError: If they are damaged, or those of another network.
    """
    if name in NETWORKS:
        module = NETWORKS[name].module
        missing = [layer for layer in layers if module.alias(layer) not in module.table()]
        if missing:
            raise UsageError(
                f"{name} has no layer {missing[0]}{why}: jaxnst reconstruct layers --network "
                f"{name} lists those that it has"
            )
        if NETWORKS[name].file is None and flags.weights is None:
            _fetch_if_wanted(name, yes=flags.yes, instead=instead)
    try:
        network = load_network(name, weights=flags.weights, preprocessing=flags.preprocessing)
        for layer in layers:
            network.resolve(layer)
    except KeyError as error:
        raise UsageError(str(error.args[0])) from error
    except ValueError as error:
        fitting = [] if flags.weights is None else _fitting(flags.weights)
        if not fitting or name in fitting:
            raise
        raise ValueError(
            f"{flags.weights} holds the parameters of {' or '.join(fitting)}, not of {name}: add "
            f"--network {fitting[0]}"
        ) from error
    return network.configure(precision=flags.precision)


def _fitting(path: str) -> list[str]:
    """List the networks whose parameters have the names and shapes of those in a file."""
    try:
        shapes = {key: value.shape for key, value in read_parameters(path)[0].items()}
    except (OSError, ValueError):
        return []
    return [name for name, entry in NETWORKS.items() if dict(entry.module.shapes()) == shapes]


def _fetch_if_wanted(name: str, *, yes: bool, instead: str) -> None:
    """Download a network's parameters if they are missing and the user agrees.

    Raises:
      UsageError: They are missing, and the user did not agree.
    """
    if is_fetched(name):
        return
    try:
        known = official_file(name)
    except KeyError:
        raise UsageError(
            f"{name} is not bundled, and no official file of it is published: give its parameters "
            "as --weights FILE"
        ) from None
    size = f", {amount(known.size)}" if known.size else ""
    if not yes and sys.stdin and sys.stdin.isatty() and sys.stderr.isatty():
        print(
            f"{name} needs {known.name} ({known.origin}; {known.license}{size}).", file=sys.stderr
        )
        print("Download it? [y/N] ", end="", file=sys.stderr, flush=True)
        yes = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not yes:
        raise UsageError(
            f"{name} is not bundled: add --yes to download its parameters{size}, or download "
            f"{known.url} yourself and add --weights FILE" + instead
        )
    fetch_with_bar(name)
