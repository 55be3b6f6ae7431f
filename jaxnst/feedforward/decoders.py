"""Decoders: from a feature map of a VGG back to the image (Li et al. 2017, section 3.1).

A decoder of level L starts at reluL_1 and mirrors the loss network: every convolution from there
up to the image, in reverse order, with inputs and outputs exchanged, and a nearest-neighbor
up-sampling where the network pools. Loss network and decoder are an autoencoder. The mirror of
relu1_1 alone is linear; the level 1 that ships begins with the mirror of conv1_2 (``hidden``).

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
"""Files of decoders that ship with jaxnst, by network."""


class Decoder(nn.Module):
    """Map a feature map of layer reluL_1 back to its image.

    Attributes:
      blocks: Of the VGG, output channels of every convolution by block.
      level: L, 1 to 5.
      padding: What lies beyond the border of a convolution's input.
      precision: Of the convolutions.
      end: 0: the image; else a lower level, whose feature map is the output, of a block of two
        convolutions or more.
      hidden: Of level 1: whether one more convolution, the mirrored conv1_2, comes first. The block
        has as many channels before it as after it.
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
        """Name the convolutions in the order in which they run, each after the one it mirrors."""
        return tuple(dict.fromkeys(name.split("/")[0] for name in self.shapes()))

    @nn.nowrap
    def shapes(self) -> Shapes:
        """List the parameters, in the order in which they are used."""
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

    Like a loss network, it can be a static argument of ``jax.jit`` while parameters are passed
    beside it.

    Attributes:
      encoder: The loss network.
      decoder: From the layer back to the image.
      params: The decoder's parameters by layer.
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
        """Shortest side of a style image, pixels: a covariance needs two positions."""
        return 2 * self.encoder.stride(self.layer)

    def encode(
        self, params: Params, image: Float[Array, "*batch h w 3"]
    ) -> Float[Array, "*batch _ _ c"]:
        """Compute the feature map of an image, RGB in [0, 1], by parameters of the encoder."""
        return self.encoder.features(params, image, (self.layer,))[self.layer]

    def decode(
        self, params: Params, features: Float[Array, "*batch h w c"]
    ) -> Float[Array, "*batch h2 w2 3"]:
        """Compute the image of a feature map by parameters of the decoder."""
        kept = partial(rounded, precision=self.decoder.precision)
        image: Any = self.decoder.apply({"params": jax.tree.map(kept, params)}, kept(features))
        return image.astype(jnp.float32)


def load_autoencoders(
    network: str | LossNetwork, *, decoders: str | os.PathLike[str] | None = None
) -> dict[int, Autoencoder]:
    """Load a loss network's decoders.

    Args:
      network: A VGG, or the name of one that needs no file.
      decoders: File of ``scripts/train_decoders.py``; None: those that ship with jaxnst.

    Returns:
      Autoencoders by level, for all levels that the file has.

    Raises:
      KeyError: If there is no network of that name.
      FileNotFoundError: If the file is not there.
      ValueError: If the network is no VGG, has no decoders of its own and no file is given, or the
        file belongs to another network, or is none of decoders, or damaged.
    """
    name = check_decodable(network)
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
            f"{file} holds no decoder at all: give another file of scripts/train_decoders.py"
        )
    by_level: dict[int, dict[str, NDArray[np.float32]]] = {}
    for key, value in parameters.items():
        match = re.fullmatch(r"level([1-5])/(.+)", key)
        if match is None:
            raise ValueError(f"{file} has {key}, expected level5/conv5_1/kernel")
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
    """Assemble an autoencoder of a VGG and a decoder's flat parameters (``conv2_1/kernel``).

    Args:
      network: The VGG.
      level: L.
      parameters: The decoder's.
      source: Where they come from, for messages.
      padding: Of the decoder's convolutions.

    Raises:
      ValueError: If the parameters do not fit the network, or it has no such level.
    """
    blocks = _vgg(network.name, network.module).blocks
    if not 1 <= level <= len(blocks):
        raise ValueError(f"level is {level}, expected 1 to {len(blocks)}")
    # Where conv1_2 has as many channels as conv1_1; else its parameters are refused below.
    fits = blocks[0][:1] == blocks[0][1:2]
    hidden = level == 1 and fits and "conv1_2/kernel" in parameters
    decoder = Decoder(blocks, level, padding=padding, precision=network.precision, hidden=hidden)
    check_parameters(parameters, decoder.shapes(), source, prefix_ok=False)
    return Autoencoder(network, decoder, params_by_layer(parameters))


def read_autoencoder(
    encoder: str | os.PathLike[str], decoder: str | os.PathLike[str]
) -> Autoencoder:
    """Read an encoder and its decoder as published for PyTorch, one pair of files per level.

    Known are the normalized VGG with the decoders of Li et al. 2017 (``vgg_normalised_conv3_1``,
    ``feature_invertor_conv3_1``) and the distilled ones of Wang et al., Collaborative Distillation
    for Ultra-Resolution Universal Style Transfer, CVPR 2020 (``3SE``, ``3SD``). Both extend the
    image by reflection at its border. Needs ``jaxnst[torch]``.

    Args:
      encoder: File of the encoder.
      decoder: File of its decoder.

    Raises:
      FileNotFoundError: If a file is not there.
      ValueError: If a file cannot be read, or the two do not belong together.
    """
    parameters, metadata = read_parameters(encoder)
    widths: dict[int, list[int]] = {}
    for key, value in parameters.items():
        if match := re.fullmatch(r"conv(\d)_\d/kernel", key):
            widths.setdefault(int(match[1]), []).append(value.shape[-1])
    if not widths or list(widths) != list(range(1, len(widths) + 1)):
        raise ValueError(f"{os.fspath(encoder)} has no VGG's convolutions: give an encoder's file")
    module = VGG(tuple(map(tuple, widths.values())), padding="reflect")
    check_parameters(parameters, module.shapes(), encoder)
    preprocessing = PREPROCESSING[metadata.get("preprocessing", "caffe")]
    network = make_network(os.path.basename(encoder), module, preprocessing, parameters)
    found, _ = read_parameters(decoder)
    return make_autoencoder(network, len(widths), found, source=decoder, padding="reflect")


def check_decodable(network: str | LossNetwork) -> str:
    """Check that a network, loaded or not, can have decoders, and return its name.

    Raises:
      KeyError: If there is no network of that name.
      ValueError: If it is no VGG.
    """
    if isinstance(network, str):
        name, module = network, network_entry(network).module
    else:
        name, module = network.name, network.module
    _vgg(name, module)
    return name


def _vgg(name: str, module: nn.Module) -> VGG:
    if not isinstance(module, VGG):
        raise ValueError(
            f"{name} is no VGG, and only those have decoders: choose another network, such as "
            f"{next(iter(BUNDLED))}"
        )
    return module
