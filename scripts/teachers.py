"""The teachers of ``vgg19-lite`` as jaxnst loss networks. Their parameters never enter the project.

DIR below is the folder that JAXNST_SHARED names; PyTorch (extra ``torch``) reads its files.
"""

from pathlib import Path

import numpy as np

from jaxnst.networks import PREPROCESSING, LossNetwork, make_network
from jaxnst.networks.vgg import VGG, VGG19
from jaxnst.weights import read_parameters

ENCODER_5SE = ((16, 16), (32, 32), (64,) * 4, (128,) * 4, (128,))


def genuine_vgg19(data: Path) -> LossNetwork:
    """Load the genuine VGG19 as far as relu3_4 (Simonyan and Zisserman; zero padding)."""
    path = data / "weights/vgg19-conv1-3/vgg19_caffe_bgr_conv1_1-conv3_4_HWIO.npz"
    with np.load(path, allow_pickle=False) as arrays:
        parameters = {name: arrays[name] for name in arrays.files}
    return make_network("vgg19 to relu3_4", VGG(VGG19), PREPROCESSING["caffe"], parameters)


def encoder_5se(data: Path) -> LossNetwork:
    """Load the encoder of Collaborative Distillation (reflection padding), without aux layers."""
    parameters, _ = read_parameters(data / "weights/vgg19-distilled-16x/5SE.pth")
    module = VGG(ENCODER_5SE, padding="reflect")
    return make_network("5SE", module, PREPROCESSING["identity"], parameters)
