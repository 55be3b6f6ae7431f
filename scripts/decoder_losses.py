"""Losses and initial parameters of decoders, for ``train_decoders.py``."""

import dataclasses
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnst
from jaxnst.feedforward.crops import Batch
from jaxnst.feedforward.decoders import Autoencoder, Decoder, make_autoencoder
from jaxnst.networks.layers import conv, pad, relu

SOLVED = 400  # batches
CONTRAST = 0.2


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """The loss of reconstructions: squared errors of pixels and of features.

    Attributes:
      autoencoder: Reconstructs the images.
      weight: Weight of the features.
    """

    autoencoder: Autoencoder
    weight: float

    def __call__(
        self, params: Any, frozen: Any, images: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss and its terms."""
        target = self.autoencoder.encode(frozen, images)
        image = self.autoencoder.decode(params, target)
        features = self.autoencoder.encode(frozen, image)
        pixels = jnp.mean((image - images) ** 2)
        error = jnp.mean((features - target) ** 2) / jnp.mean(target**2)
        return pixels + self.weight * error, {"pixels": pixels, "features": error}


@dataclasses.dataclass(frozen=True)
class StepDown:
    """The loss of the layers between a level and the next shallower one.

    Attributes:
      network: The loss network.
      layers: Map the features of the level to those of the next one.
    """

    network: jaxnst.LossNetwork
    layers: Decoder

    def __call__(
        self, params: Any, frozen: Any, images: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss, which is its only term."""
        deep, shallow = (f"relu{level}_1" for level in (self.layers.level, self.layers.end))
        features = self.network.features(frozen, images, (shallow, deep))
        target = features[shallow]
        output: Any = self.layers.apply({"params": params}, features[deep])
        error = jnp.mean((output - target) ** 2) / jnp.mean(target**2)
        return error, {"features": error}


def initial_autoencoder(
    network: jaxnst.LossNetwork, level: int, images: jax.Array, seed: int
) -> Autoencoder:
    """Make an autoencoder with a random decoder.

    Every layer is scaled to unit variance on a few images, and the last one to the contrast of an
    image; otherwise a deep decoder learns nothing for a long time.
    """
    layer = f"relu{level}_1"
    decoder = Decoder(network.module.blocks, level)
    rng, shapes, parameters = np.random.default_rng((seed, level)), decoder.shapes(), {}
    x = network.features(network.params, images, (layer,))[layer]
    for name in decoder.layers():
        kernel = rng.normal(size=shapes[f"{name}/kernel"]).astype(np.float32)
        y = conv(x, jnp.asarray(kernel), None, padding=decoder.padding)
        scale = (CONTRAST if name == "conv1_1" else 1.0) / float(y.std())
        parameters[f"{name}/kernel"] = scale * kernel
        parameters[f"{name}/bias"] = np.zeros(kernel.shape[-1], np.float32)
        x = relu(scale * y)
        if name == "conv1_1":
            parameters[f"{name}/bias"] = 0.5 - np.asarray(scale * y.mean((0, 1, 2)))
        elif name.endswith("_1"):
            x = x.repeat(2, 1).repeat(2, 2)
    return make_autoencoder(network, level, parameters)


@jax.jit
def products(features: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return both sides of the normal equations of a 3x3 convolution, summed over a batch."""
    count, height, width, _ = images.shape
    around = pad(features, (1, 1), "edge")
    shifted = [around[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    ones = jnp.ones((count, height, width, 1))
    rows = jnp.concatenate([*shifted, ones], axis=-1).reshape(count * height * width, -1)
    multiply = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    return multiply(rows.T, rows), multiply(rows.T, images.reshape(-1, 3))


def solve_level_1(start: Autoencoder, source: Iterator[Batch]) -> dict[str, np.ndarray]:
    """Return parameters of level 1: the convolution of least squared error on many crops.

    The convolution before it is the identity, since feature maps are never negative.
    """
    left, right = 0.0, 0.0
    for batch in itertools.islice(source, SOLVED):
        images = jnp.asarray(batch.images / np.float32(255))
        both = products(start.encode(start.encoder.params, images), images)
        left, right = (
            s + np.asarray(p, np.float64) for s, p in zip((left, right), both, strict=True)
        )
    ridge = 1e-7 * np.trace(left) / len(left) * np.eye(len(left))
    solution = np.linalg.solve(left + ridge, right)
    shape = start.decoder.shapes()["conv1_1/kernel"]
    identity = np.zeros((3, 3, shape[2], shape[2]))
    identity[1, 1] = np.eye(shape[2])
    return {
        "conv1_2/kernel": identity,
        "conv1_2/bias": np.zeros(shape[2]),
        "conv1_1/kernel": solution[:-1].reshape(shape),
        "conv1_1/bias": solution[-1],
    }
