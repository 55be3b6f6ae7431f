"""Statistics of feature maps, distances between them, and the objective made of them.

Feature maps are ``(H, W, C)``, images ``(H, W, 3)``; batches come from ``vmap``. These are pure
functions of arrays: nothing here reads a file or keeps state.
"""

from jaxnst.losses.distances import DISTANCES, register_distance, style_loss
from jaxnst.losses.objective import (
    Objective,
    Targets,
    content_targets,
    make_loss_weights,
    make_objective,
    make_targets,
    style_summaries,
    style_targets,
)
from jaxnst.losses.statistics import STATISTICS, gram_matrix, moments, register_statistic
from jaxnst.losses.terms import content_loss, total_variation

__all__ = [
    "DISTANCES",
    "STATISTICS",
    "Objective",
    "Targets",
    "content_loss",
    "content_targets",
    "gram_matrix",
    "make_loss_weights",
    "make_objective",
    "make_targets",
    "moments",
    "register_distance",
    "register_statistic",
    "style_loss",
    "style_summaries",
    "style_targets",
    "total_variation",
]
