"""What every family of loss networks tells of itself.

The module of a family has ``padding`` and ``pooling`` among its attributes, is called with a
preprocessed image and a tuple of layers, and has four methods beside: ``table()``, its layers
from shallow to deep in the order in which they are computed; ``shapes()``, its parameters;
``alias(layer)``, which translates names that others give to its layers; and ``cuts()``, layers
whose feature map is all that the deeper ones need. It may be called with one of these maps in place
of an image, and the layer's name as ``after``: then it goes on from there.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from jaxtyping import Array, Float

FeatureMaps = dict[str, Float[Array, "*batch _ _ _"]]
Shapes = dict[str, tuple[int, ...]]
"""Of parameters, shallow to deep, by flat name: ``conv1_1/kernel``."""


class Layer(NamedTuple):
    """One layer of a network.

    Attributes:
      channels: Of its feature map.
      stride: Pixels of the picture that one position stands for.
      least: Side of the smallest picture of which it has a position, pixels.
    """

    channels: int
    stride: int
    least: int


Value = TypeVar("Value")


def take(computed: Iterator[tuple[str, Value]], layers: tuple[str, ...]) -> dict[str, Value]:
    """Collect the layers asked for, and compute nothing deeper than the deepest."""
    found: dict[str, Value] = {}
    for name, value in computed:
        if name in layers:
            found[name] = value
        if len(found) == len(layers):
            break
    return found


def following(table: dict[str, Layer], after: str | None) -> Iterable[tuple[str, Layer]]:
    """Return what comes after a layer, or all of the table."""
    rows = list(table.items())
    return rows if after is None else rows[list(table).index(after) + 1 :]


def layers_of(shapes: Mapping[str, object]) -> tuple[str, ...]:
    """Return the layers that have parameters, in their order."""
    return tuple(dict.fromkeys(name.rpartition("/")[0] for name in shapes))
