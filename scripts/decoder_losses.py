"""What ``train_decoders.py`` lets decoders learn by, and what they begin with."""

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
    """The loss: how far pictures that were given back are from the pictures.

    Attributes:
      autoencoder: What gives them back.
      weight: Of the feature maps.
    """

    autoencoder: Autoencoder
    weight: float

    def __call__(
        self, params: Any, frozen: Any, images: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss and its terms."""
        seen = self.autoencoder.encode(frozen, images)
        image = self.autoencoder.decode(params, seen)
        again = self.autoencoder.encode(frozen, image)
        pixels = jnp.mean((image - images) ** 2)
        features = jnp.mean((again - seen) ** 2) / jnp.mean(seen**2)
        return pixels + self.weight * features, {"pixels": pixels, "features": features}


@dataclasses.dataclass(frozen=True)
class StepDown:
    """The loss of the layers that lead from one level to the next shallower one.

    Attributes:
      network: Whose features are given back.
      layers: Lead from some of them to others.
    """

    network: jaxnst.LossNetwork
    layers: Decoder

    def __call__(
        self, params: Any, frozen: Any, images: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss, which is its only term."""
        deep, aim = (f"relu{level}_1" for level in (self.layers.level, self.layers.end))
        seen = self.network.features(frozen, images, (aim, deep))
        found: Any = self.layers.apply({"params": params}, seen[deep])
        error = jnp.mean((found - seen[aim]) ** 2) / jnp.mean(seen[aim] ** 2)
        return error, {"features": error}


def beginning(network: jaxnst.LossNetwork, level: int, images: jax.Array, seed: int) -> Autoencoder:
    """Make an autoencoder whose decoder knows nothing yet.

    Every layer is scaled to unit variance on a few pictures, and the last to the contrast of one:
    a deep decoder learns nothing for a long time otherwise.
    """
    layer = f"relu{level}_1"
    decoder = Decoder(network.module.blocks, level)
    rng, shapes, found = np.random.default_rng((seed, level)), decoder.shapes(), {}
    x = network.features(network.params, images, (layer,))[layer]
    for name in decoder.layers():
        kernel = rng.normal(size=shapes[f"{name}/kernel"]).astype(np.float32)
        y = conv(x, jnp.asarray(kernel), None, padding=decoder.padding)
        scale = (CONTRAST if name == "conv1_1" else 1.0) / float(y.std())
        found[f"{name}/kernel"] = scale * kernel
        found[f"{name}/bias"] = np.zeros(kernel.shape[-1], np.float32)
        x = relu(scale * y)
        if name == "conv1_1":
            found[f"{name}/bias"] = 0.5 - np.asarray(scale * y.mean((0, 1, 2)))
        elif name.endswith("_1"):
            x = x.repeat(2, 1).repeat(2, 2)
    return make_autoencoder(network, level, found)


@jax.jit
def products(features: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sum what the normal equations of a 3x3 convolution take."""
    count, height, width, _ = images.shape
    around = pad(features, (1, 1), "edge")
    shifted = [around[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    ones = jnp.ones((count, height, width, 1))
    rows = jnp.concatenate([*shifted, ones], axis=-1).reshape(count * height * width, -1)
    multiply = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    return multiply(rows.T, rows), multiply(rows.T, images.reshape(-1, 3))


def solved(start: Autoencoder, source: Iterator[Batch]) -> dict[str, np.ndarray]:
    """Return a decoder of level 1: a convolution of the least squared error on many crops.

    Before it comes one that changes nothing: feature maps are never negative.
    """
    left, right = 0.0, 0.0
    for batch in itertools.islice(source, SOLVED):
        images = jnp.asarray(batch.images / np.float32(255))
        both = products(start.encode(start.encoder.params, images), images)
        left, right = (
            s + np.asarray(p, np.float64) for s, p in zip((left, right), both, strict=True)
        )
    ridge = 1e-7 * np.trace(left) / len(left) * np.eye(len(left))
    found = np.linalg.solve(left + ridge, right)
    shape = start.decoder.shapes()["conv1_1/kernel"]
    nothing = np.zeros((3, 3, shape[2], shape[2]))
    nothing[1, 1] = np.eye(shape[2])
    return {
        "conv1_2/kernel": nothing,
        "conv1_2/bias": np.zeros(shape[2]),
        "conv1_1/kernel": found[:-1].reshape(shape),
        "conv1_1/bias": found[-1],
    }
