"""Readers of flags' values: from text to value, or to an error of one line."""

import argparse
import re
from collections.abc import Callable

from jaxnst.recipes.schema import LayerNames, LayerWeights

SIZES = (16, 16384)
"""Least and greatest longest side, pixels."""

Device = tuple[str, int | None]
"""A kind of device, and the index of one; None: the first, or all in a batch."""

Mixture = tuple[str, tuple[float, ...]]
"""A layer, "" for all others, and the weights of the styles there."""


def number(text: str) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def integer(least: int | None = None, greatest: int | None = None) -> Callable[[str], int]:
    """Return a reader of whole numbers within bounds."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        low = least is not None and value < least
        if low or (greatest is not None and value > greatest):
            bounds = f"at least {least}" if greatest is None else f"{least} to {greatest}"
            raise argparse.ArgumentTypeError(f"{value} is out of range, expected {bounds}")
        return value

    return read


def tile(text: str) -> int | str:
    """Read the size of tiles, or whether there are any."""
    return text if text in ("auto", "off") else integer(1, SIZES[1])(text)


def integers(least: int, greatest: int) -> Callable[[str], tuple[int, ...]]:
    """Return a reader of whole numbers within bounds, with commas between them.

    Example:
      >>> integers(1, 4096)("16,32,64")
      (16, 32, 64)
    """
    return lambda text: tuple(map(integer(least, greatest), text.split(",")))


def numbers(text: str) -> tuple[float, ...]:
    """Read numbers, with commas between them.

    Example:
      >>> numbers("0.3,1")
      (0.3, 1.0)
    """
    return tuple(map(number, _parts(text)))


def layer_weights(text: str) -> LayerWeights:
    """Read layers with their weights, 1 where none is given.

    Example:
      >>> layer_weights("relu1_1:0.5,relu3_1")
      (('relu1_1', 0.5), ('relu3_1', 1.0))
    """
    pairs = [part.partition(":") for part in _parts(text)]
    if not all(layer for layer, _, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} names no layer, expected LAYER:WEIGHT,...")
    return tuple((layer, number(weight) if colon else 1.0) for layer, colon, weight in pairs)


def layer_names(text: str) -> LayerNames:
    """Read a name for each of several layers.

    Example:
      >>> layer_names("relu1_1:histogram,relu3_1:sliced")
      (('relu1_1', 'histogram'), ('relu3_1', 'sliced'))
    """
    pairs = [part.partition(":") for part in _parts(text)]
    if not all(layer and name for layer, _, name in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} names no layer, expected LAYER:NAME,...")
    return tuple((layer, name) for layer, _, name in pairs)


def mixture(text: str) -> Mixture:
    """Read the weights of the styles, at one layer or at all others ("").

    Example:
      >>> mixture("0.7,0.3"), mixture("relu1_1:0,1")
      (('', (0.7, 0.3)), ('relu1_1', (0.0, 1.0)))
    """
    layer, _, weights = text.rpartition(":")
    return layer, numbers(weights)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def sides(text: str) -> tuple[int, ...]:
    """Read longest sides of scales; "auto" is none, which leaves them to the recipe.

    Example:
      >>> sides("128,256,512"), sides("auto")
      ((128, 256, 512), ())
    """
    return () if text == "auto" else integers(*SIZES)(text)


def memory(text: str) -> int:
    """Read an amount of memory, bytes.

    Example:
      >>> memory("8GB"), memory("1.5 GiB"), memory("500000")
      (8000000000, 1610612736, 500000)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(I?)B?|B)?", text.strip().upper())
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an amount of memory, such as 8GB or 500MiB"
        )
    number, prefix, binary = match.groups()
    power = " KMGT".index(prefix) if prefix else 0
    return round(float(number) * (1024 if binary else 1000) ** power)


def device(text: str) -> Device:
    """Read a kind of device, and the index of one, None if there is none."""
    kind, _, index = text.partition(":")
    if kind not in ("cpu", "gpu", "tpu") or not (index.isdecimal() or text == kind):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device: give cpu, gpu, tpu or gpu:1")
    return kind, int(index) if index else None
