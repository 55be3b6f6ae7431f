"""Style transfer in one pass: no loop, networks alone."""

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
