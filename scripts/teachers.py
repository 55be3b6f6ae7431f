"""The teachers of ``vgg19-lite`` as jaxnst loss networks. Their parameters never enter the project.

DIR below is the folder that JAXNST_SHARED names; PyTorch (extra ``torch``) reads its files.
"""

from pathlib import Path

import numpy as np

from jaxnst.networks import PREPROCESSING, LossNetwork, make_network
from jaxnst.networks.vgg import VGG, VGG19

ENCODER_5SE = ((16, 16), (32, 32), (64,) * 4, (128,) * 4, (128,))


def genuine_vgg19(data: Path) -> LossNetwork:
    """Load the genuine VGG19 as far as relu3_4 (Simonyan and Zisserman; zero padding)."""
    path = data / "weights/vgg19-conv1-3/vgg19_caffe_bgr_conv1_1-conv3_4_HWIO.npz"
    with np.load(path, allow_pickle=False) as arrays:
        parameters = {name: arrays[name] for name in arrays.files}
    return make_network("vgg19 to relu3_4", VGG(VGG19), PREPROCESSING["caffe"], parameters)


def encoder_5se(data: Path) -> LossNetwork:
    """Load the encoder of Collaborative Distillation (reflection padding), without aux layers.

    Its first module, a 1x1 convolution that turns RGB in [0, 1] into the Caffe network's input,
    is folded into conv1_1. Reflection padding commutes with a 1x1 convolution, so that is exact.
    """
    import torch

    path = data / "weights/vgg19-distilled-16x/5SE.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    arrays = {key: value.numpy().astype(np.float64) for key, value in state.items()}
    parameters = {}
    module = VGG(ENCODER_5SE, padding="reflect")
    for name in module.shapes():
        layer, part = name.split("/")
        source = f"conv{layer[4]}{layer[6]}"
        if part == "kernel":
            parameters[name] = arrays[f"{source}.weight"].transpose(2, 3, 1, 0)
        else:
            parameters[name] = arrays[f"{source}.bias"]
    mixing, offset = arrays["conv0.weight"][:, :, 0, 0], arrays["conv0.bias"]
    kernel = parameters["conv1_1/kernel"]
    parameters["conv1_1/bias"] = parameters["conv1_1/bias"] + np.einsum("hwio,i->o", kernel, offset)
    parameters["conv1_1/kernel"] = np.einsum("hwio,ij->hwjo", kernel, mixing)
    return make_network("5SE", module, PREPROCESSING["identity"], parameters)
