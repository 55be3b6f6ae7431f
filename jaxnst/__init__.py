"""Neural style transfer in JAX.

A pure function from an image to a loss, and a compiled loop that follows its gradient::

    import jaxnst

    result = jaxnst.stylize("photograph.jpg", "painting.jpg", size=512)
    result.save("out.png")
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from jaxnst import recipes
from jaxnst._version import __version__
from jaxnst.recipes import (
    Colors,
    Content,
    Noise,
    Recipe,
    Scales,
    Solver,
    Style,
    TotalVariation,
    get_recipe,
    read_recipe,
)

if TYPE_CHECKING:
    from jaxnst.feedforward import Model, apply_model, bundled_models, load_model, save_model
    from jaxnst.feedforward.instant import instant
    from jaxnst.image import load_image, read_record, resize, save_image
    from jaxnst.image.record import Record
    from jaxnst.losses.distances import register_distance, style_loss
    from jaxnst.losses.statistics import gram_matrix, moments, register_statistic
    from jaxnst.losses.terms import content_loss, total_variation
    from jaxnst.networks import LossNetwork, extract_features, load_network
    from jaxnst.report import notebook
    from jaxnst.report.plot import plot_losses
    from jaxnst.transfer.batch import BatchProgress, PairsError, stylize_batch
    from jaxnst.transfer.change import Change
    from jaxnst.transfer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from jaxnst.transfer.reconstruct import reconstruct_content, reconstruct_style
    from jaxnst.transfer.result import Progress, ScaleTiming, StylizeResult
    from jaxnst.transfer.stylize import stylize

__all__ = [
    "BatchProgress",
    "Change",
    "Checkpoint",
    "Colors",
    "Content",
    "LossNetwork",
    "Model",
    "Noise",
    "PairsError",
    "Progress",
    "Recipe",
    "Record",
    "ScaleTiming",
    "Scales",
    "Solver",
    "Style",
    "StylizeResult",
    "TotalVariation",
    "__version__",
    "apply_model",
    "bundled_models",
    "content_loss",
    "extract_features",
    "get_recipe",
    "gram_matrix",
    "instant",
    "load_checkpoint",
    "load_image",
    "load_model",
    "load_network",
    "moments",
    "notebook",
    "plot_losses",
    "read_recipe",
    "read_record",
    "recipes",
    "reconstruct_content",
    "reconstruct_style",
    "register_distance",
    "register_statistic",
    "resize",
    "save_checkpoint",
    "save_image",
    "save_model",
    "style_loss",
    "stylize",
    "stylize_batch",
    "total_variation",
]

# Importing JAX takes a second or two, which help on the command line and loading an image do not
# need. The names are those imported above for type checkers.
_MODULES = {
    "jaxnst.transfer.batch": ("BatchProgress", "PairsError", "stylize_batch"),
    "jaxnst.transfer.change": ("Change",),
    "jaxnst.transfer.checkpoint": ("Checkpoint", "load_checkpoint", "save_checkpoint"),
    "jaxnst.losses.distances": ("register_distance", "style_loss"),
    "jaxnst.feedforward": ("Model", "apply_model", "bundled_models", "load_model", "save_model"),
    "jaxnst.feedforward.instant": ("instant",),
    "jaxnst.image": ("load_image", "read_record", "resize", "save_image"),
    "jaxnst.losses.terms": ("content_loss", "total_variation"),
    "jaxnst.networks": ("LossNetwork", "extract_features", "load_network"),
    "jaxnst.image.record": ("Record",),
    "jaxnst.transfer.reconstruct": ("reconstruct_content", "reconstruct_style"),
    "jaxnst.report.plot": ("plot_losses",),
    "jaxnst.losses.statistics": ("gram_matrix", "moments", "register_statistic"),
    "jaxnst.transfer.result": ("Progress", "ScaleTiming", "StylizeResult"),
    "jaxnst.transfer.stylize": ("stylize",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name == "notebook":
        return importlib.import_module("jaxnst.report.notebook")
    if name not in _HOMES:
        text = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(text, name=name, obj=sys.modules[__name__])  # suggests a near name
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
