"""Loss networks, whose feature maps the losses compare."""

from jaxnst.networks.registry import (
    NETWORKS,
    LossNetwork,
    extract_features,
    init_network,
    load_network,
    make_network,
)
from jaxnst.recipes.schema import PREPROCESSING

__all__ = [
    "NETWORKS",
    "PREPROCESSING",
    "LossNetwork",
    "extract_features",
    "init_network",
    "load_network",
    "make_network",
]
