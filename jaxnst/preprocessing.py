"""What networks were trained on, as spaces; standard library only."""

from jaxnst.config import Space

CAFFE = Space(order="bgr", scale=255.0, mean=(103.939, 116.779, 123.68))
IMAGENET = Space(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))
MATCONVNET = Space(scale=255.0, mean=(123.68, 116.779, 103.939))

PREPROCESSING = {
    "caffe": CAFFE,
    "imagenet": IMAGENET,
    "torchvision": IMAGENET,
    "matconvnet": MATCONVNET,
    "identity": Space(),
}
"""Spaces by the name that parameter files and the command line have for them."""
