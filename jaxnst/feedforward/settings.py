"""Settings of style transfer in one pass, and of training, as frozen dataclasses.

This module imports nothing slow: the command line reads its flags and defaults here.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args

from jaxnst._checks import among, check, positive, share
from jaxnst.recipes.schema import option

Transform = Literal["whiten", "moments"]
Optimizer = Literal["adam", "muon"]

MAX_STEPS = 10**8

GRID_WEIGHT = 1000.0
"""Weight of the loss against a grid: a grid of four levels of 255 adds a quarter to a usual loss,
one of half a level almost nothing."""

LEVELS = (4, 3, 2, 1)
"""Levels in the order in which they run. Level 5, with which Li et al. begin, adds shapes as large
as the painting's, and destroys faces and windows."""


@dataclass(frozen=True)
class Instant:
    """Settings of style transfer in one pass.

    Attributes:
      alpha: Strength of the style, from 0, the content as the decoders reconstruct it, to 1.
      levels: Levels in the order in which they run, each at most once.
      transform: ``whiten`` (Li et al. 2017: mean and covariance) or ``moments`` (Huang and
        Belongie 2017: mean and deviation of every channel; less style, and fewer artifacts).
    """

    alpha: int | float = 0.6
    levels: tuple[int, ...] = LEVELS
    transform: Transform = "whiten"

    def __post_init__(self) -> None:
        """Check the values."""
        share("alpha", self.alpha)
        fits = len(self.levels) > 0 and len(set(self.levels)) == len(self.levels)
        check("levels", self.levels, fits, "at least one level, none of them twice")
        among("transform", self.transform, get_args(Transform))


def as_levels(levels: object) -> tuple[int, ...]:
    """Return levels as a tuple; raise ValueError if they are not integers."""
    values = tuple(levels) if isinstance(levels, Iterable) else None
    if values is None or not all(isinstance(level, Integral) for level in values):
        raise ValueError(f"levels is {levels!r}, expected whole numbers such as {LEVELS}")
    return tuple(int(level) for level in values)


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of training.

    Attributes:
      steps: Number of batches.
      batch: Crops in each batch.
      crop: Side of the crops, pixels.
      optimizer: ``adam``, or ``muon`` for the kernels of all hidden layers, with Adam for first and
        last layers, biases and normalizations.
      rate: Largest learning rate; for ``muon``, updates are as large as Adam's.
      warmup: Steps over which the learning rate rises; then it falls along a cosine to 0.
      seed: Seed of the initial parameters and the crops.
    """

    steps: int = option(4000, "--steps", "number of batches to train on", metavar="N")
    batch: int = option(2, "--batch", "crops in each batch", metavar="N")
    crop: int = option(
        192,
        "--crop",
        "side of the crops; smaller pictures are enlarged, and those under half of it left out",
        metavar="PIXELS",
    )
    optimizer: Optimizer = option(
        "muon", "--optimizer", "optimizer; muon trains the hidden kernels, and Adam the rest"
    )
    rate: float = option(5e-3, "--rate", "largest learning rate")
    warmup: int = option(
        50, "--warmup", "steps in which the learning rate rises to that", metavar="N"
    )
    seed: int = option(
        0, "--seed", "random seed of the crops and of the initial parameters", metavar="N"
    )

    def __post_init__(self) -> None:
        check("steps", self.steps, 1 <= self.steps <= MAX_STEPS, f"1 to {MAX_STEPS}")
        check("batch", self.batch, 1 <= self.batch <= 4096, "1 to 4096 crops")
        check("crop", self.crop, 16 <= self.crop <= 4096, "16 to 4096 pixels")
        among("optimizer", self.optimizer, get_args(Optimizer))
        positive("rate", self.rate)
        check("warmup", self.warmup, 0 <= self.warmup <= MAX_STEPS, f"0 to {MAX_STEPS} steps")
        check("seed", self.seed, 0 <= self.seed < 2**32, "0 to 2^32 - 1")

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, the first being 0.

        Example:
          >>> settings = Training(steps=100, warmup=10, rate=1.0)
          >>> settings.rate_at(0), settings.rate_at(10), round(settings.rate_at(55), 2)
          (0.1, 1.0, 0.5)
        """
        warmup = min(self.warmup, self.steps // 2)
        if step < warmup:
            return self.rate * (step + 1) / warmup
        return self.rate * (1 + math.cos(math.pi * (step - warmup) / (self.steps - warmup))) / 2
