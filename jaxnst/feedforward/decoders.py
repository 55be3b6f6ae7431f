"""Decoders: from a feature map of a VGG back to the image (Li et al. 2017, section 3.1).

A decoder of level L starts at reluL_1 and mirrors the loss network: all convolutions between there
and the image, in reverse order, with inputs and outputs exchanged, and a nearest-neighbor
up-sampling where the network pools. Loss network and decoder are an autoencoder. The mirror of
relu1_1 alone is linear; the bundled level 1 begins with the mirror of conv1_2 (``hidden``).

Reference:
  Li, Fang, Yang, Wang, Lu, Yang: Universal Style Transfer via Feature Transforms. NIPS 2017.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from jaxnst._numerics import default_numerics
from jaxnst.feedforward.transformer import UpsampleConv
from jaxnst.networks.convnet import Shapes
from jaxnst.networks.layers import Convolution, relu
from jaxnst.networks.precision import rounded
from jaxnst.networks.registry import (
    LossNetwork,
    Params,
    load_network,
    make_network,
    network_entry,
    params_by_layer,
)
from jaxnst.networks.vgg import VGG, Blocks
from jaxnst.recipes.schema import ONE_PASS, PREPROCESSING, Padding, Precision
from jaxnst.weights import bundled, check_parameters, read_parameters

BUNDLED = {ONE_PASS: "vgg19-lite-decoders.safetensors"}
"""Files of the bundled decoders, by network."""


class Decoder(nn.Module):
    """Map a feature map of layer reluL_1 back to its image.

    Attributes:
      blocks: Output channels of every convolution of the VGG, by block.
      level: L, 1 to 5.
      padding: How the inputs of convolutions are padded.
      precision: Precision of the convolutions.
      end: The output: 0 for the image, or a lower level for its feature map. The block of that
        level needs at least two convolutions.
      hidden: Whether level 1 begins with the mirror of conv1_2, which needs as many input as output
        channels.
    """

    blocks: Blocks
    level: int
    padding: Padding = "edge"
    precision: Precision = "float32"
    end: int = 0
    hidden: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h2 w2 d"]:
        """Return RGB, about [0, 1] but unbounded, 2^(L-1) times as high and wide."""
        shapes, upsampled = self.shapes(), False
        for name in self.layers():
            width = shapes[f"{name}/kernel"][-1]
            options: Any = {"padding": self.padding, "precision": self.precision, "name": name}
            if upsampled:
                x = UpsampleConv(width, "resize", has_bias=True, **options)(x)
            else:
                x = Convolution(width, **options)(x)
            if name != "conv1_1":
                x = relu(x)
            upsampled = name.endswith("_1")
        return x

    @nn.nowrap
    def layers(self) -> tuple[str, ...]:
        """List the convolutions in execution order, each with the name of the one it mirrors."""
        return tuple(dict.fromkeys(name.split("/")[0] for name in self.shapes()))

    @nn.nowrap
    def shapes(self) -> Shapes:
        """List the shapes of the parameters by flat name, in execution order."""
        encoder = VGG(self.blocks).shapes()
        names = [name.split("/")[0] for name in encoder if name.endswith("/kernel")]
        last = names.index(f"conv{self.end}_1") + 1 if self.end else 0
        first = "conv1_2" if self.hidden else f"conv{self.level}_1"
        shapes: Shapes = {}
        for name in reversed(names[last : names.index(first) + 1]):
            height, width, inputs, outputs = encoder[f"{name}/kernel"]
            shapes[f"{name}/kernel"] = (height, width, outputs, inputs)
            shapes[f"{name}/bias"] = (inputs,)
        return shapes


@dataclass(frozen=True)
class Autoencoder:
    """A loss network up to reluL_1, and the decoder from there back to the image.

    It can be a static argument of ``jax.jit``; the decoder's parameters, by layer, are passed
    separately.
    """

    encoder: LossNetwork
    decoder: Decoder
    params: Params = field(compare=False, repr=False)

    @property
    def level(self) -> int:
        """L."""
        return self.decoder.level

    @property
    def layer(self) -> str:
        """Name of the layer that is decoded."""
        return f"relu{self.level}_1"

    @property
    def least(self) -> int:
        """Least side of a style image, pixels: a covariance needs two positions."""
        return 2 * self.encoder.stride(self.layer)

    def encode(
        self, params: Params, image: Float[Array, "*batch h w 3"]
    ) -> Float[Array, "*batch _ _ c"]:
        """Compute the feature map of an image, RGB in [0, 1], with the encoder's parameters."""
        return self.encoder.features(params, image, (self.layer,))[self.layer]

    def decode(
        self, params: Params, features: Float[Array, "*batch h w c"]
    ) -> Float[Array, "*batch h2 w2 3"]:
        """Compute the image of a feature map with the decoder's parameters."""
        kept = partial(rounded, precision=self.decoder.precision)
        image: Any = self.decoder.apply({"params": jax.tree.map(kept, params)}, kept(features))
        return image.astype(jnp.float32)


def load_autoencoders(
    network: str | LossNetwork, *, decoders: str | os.PathLike[str] | None = None
) -> dict[int, Autoencoder]:
    """Load the decoders of a loss network.

    Args:
      network: A VGG, or the name of one with bundled parameters.
      decoders: A file written by ``scripts/train_decoders.py``; None: the bundled decoders.

    Returns:
      Autoencoders for all levels of the file, by level.

    Raises:
      KeyError: There is no network of that name.
      FileNotFoundError: The file does not exist.
      ValueError: The network is not a VGG, or has no bundled decoders and no file is given; or the
        file is damaged, holds something else, or belongs to another network.
    """
    check_decodable(network)
    name = network if isinstance(network, str) else network.name
    if decoders is None and name not in BUNDLED:
        raise ValueError(
            f"no decoders for {name} ship with jaxnst, only for {', '.join(BUNDLED)}: give a file "
            "of scripts/train_decoders.py (decoders)"
        )
    network = load_network(network) if isinstance(network, str) else network
    file = os.fspath(bundled(BUNDLED[name]) if decoders is None else decoders)
    parameters, metadata = read_parameters(file)
    if (owner := metadata.get("decoders_of")) != name:
        what = f"decoders of {owner}" if owner else "no decoders"
        raise ValueError(
            f"{file} has {what}, expected those of {name}: give a file that "
            "scripts/train_decoders.py wrote for it"
        )
    if not parameters:
        raise ValueError(
            f"{file} holds no decoders: give another file of scripts/train_decoders.py"
        )
    by_level: dict[int, dict[str, NDArray[np.float32]]] = {}
    for key, value in parameters.items():
        match = re.fullmatch(r"level([1-5])/(.+)", key)
        if match is None:
            raise ValueError(f"{file} has {key}, expected names such as level5/conv5_1/kernel")
        by_level.setdefault(int(match[1]), {})[match[2]] = value
    return {
        level: make_autoencoder(network, level, by_level[level], source=file)
        for level in sorted(by_level, reverse=True)
    }


@default_numerics()
def make_autoencoder(
    network: LossNetwork,
    level: int,
    parameters: Mapping[str, NDArray[np.floating]],
    *,
    source: str | os.PathLike[str] = "decoder",
    padding: Padding = "edge",
) -> Autoencoder:
    """Make an autoencoder of a VGG and a decoder's parameters by flat name (``conv2_1/kernel``).

    ``source`` says in messages where they come from; the padding is that of the decoder.

    Raises:
      ValueError: The parameters do not fit the network, or it has no such level.
    """
    blocks = check_decodable(network).blocks
    if not 1 <= level <= len(blocks):
        raise ValueError(f"level is {level}, expected 1 to {len(blocks)}")
    # Parameters of a conv1_2 that changes the number of channels are refused below.
    fits = blocks[0][:1] == blocks[0][1:2]
    hidden = level == 1 and fits and "conv1_2/kernel" in parameters
    decoder = Decoder(blocks, level, padding=padding, precision=network.precision, hidden=hidden)
    check_parameters(parameters, decoder.shapes(), source, prefix_ok=False)
    return Autoencoder(network, decoder, params_by_layer(parameters))


def read_autoencoder(
    encoder: str | os.PathLike[str], decoder: str | os.PathLike[str]
) -> Autoencoder:
    """Read an encoder and its decoder as published for PyTorch, one pair of files per level.

    Supported are the normalized VGG with the decoders of Li et al. 2017 (``vgg_normalised_conv3_1``
    and ``feature_invertor_conv3_1``) and the distilled ones of Wang et al., Collaborative
    Distillation for Ultra-Resolution Universal Style Transfer, CVPR 2020 (``3SE`` and ``3SD``).
    Both pad by reflection. Needs ``jaxnst[torch]``.

    Args:
      encoder: File of the encoder.
      decoder: File of its decoder.

    Raises:
      FileNotFoundError: A file does not exist.
      ValueError: A file cannot be read, or the two do not fit together.
    """
    parameters, metadata = read_parameters(encoder)
    widths: dict[int, list[int]] = {}
    for key, value in parameters.items():
        if match := re.fullmatch(r"conv(\d)_\d/kernel", key):
            widths.setdefault(int(match[1]), []).append(value.shape[-1])
    if not widths or list(widths) != list(range(1, len(widths) + 1)):
        raise ValueError(f"{os.fspath(encoder)} is not a VGG: give the file of an encoder")
    module = VGG(tuple(map(tuple, widths.values())), padding="reflect")
    check_parameters(parameters, module.shapes(), encoder)
    preprocessing = PREPROCESSING[metadata.get("preprocessing", "caffe")]
    network = make_network(os.path.basename(encoder), module, preprocessing, parameters)
    mirrored, _ = read_parameters(decoder)
    return make_autoencoder(network, len(widths), mirrored, source=decoder, padding="reflect")


def check_decodable(network: str | LossNetwork) -> VGG:
    """Return the module of a network, loaded or not, that can have decoders.

    Raises:
      KeyError: There is no network of that name.
      ValueError: It is not a VGG.
    """
    name = network if isinstance(network, str) else network.name
    module = network_entry(name).module if isinstance(network, str) else network.module
    if not isinstance(module, VGG):
        raise ValueError(
            f"{name} is not a VGG, and only those have decoders: choose another network, such as "
            f"{next(iter(BUNDLED))}"
        )
    return module
