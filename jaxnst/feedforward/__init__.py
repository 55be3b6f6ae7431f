"""Style transfer in one pass: no loop, networks alone."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxnst.feedforward.models import (
        Model,
        apply_model,
        bundled_models,
        load_model,
        paint_frames,
        save_model,
    )
    from jaxnst.feedforward.transformer import TransformationNetwork

__all__ = [
    "Model",
    "TransformationNetwork",
    "apply_model",
    "bundled_models",
    "load_model",
    "paint_frames",
    "save_model",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: processes that decode need none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "transformer" if name == "TransformationNetwork" else "models"
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
