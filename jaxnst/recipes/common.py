"""What several published methods share."""

from jaxnst.config import LayerWeights, Scales, Solver


def equally(*layers: str) -> LayerWeights:
    """Weigh layers alike, 1 in all."""
    return tuple((layer, 1 / len(layers)) for layer in layers)


def times(factor: float, scales: LayerWeights) -> LayerWeights:
    """Multiply all weights."""
    return tuple((layer, factor * scale) for layer, scale in scales)


FIRST_OF_FIVE = tuple(f"relu{b}_1" for b in range(1, 6))

AS_STRONG_AS_CAFFE: LayerWeights = (
    ("relu1_1", 163.0),
    ("relu1_2", 868.0),
    ("relu2_1", 816.0),
    ("relu2_2", 1230.0),
    ("relu3_1", 834.0),
    ("relu3_2", 647.0),
    ("relu4_1", 510.0),
    ("relu4_2", 170.0),
    ("relu5_1", 12.0),
)
"""Root mean square of VGG19's feature maps over that of vgg19-lite's, for Caffe's parameters.

As far as relu3_2 they were measured with the genuine network on 21 pictures at 384 px; the deeper
ones, for which there was none to measure, are orders of magnitude."""

AS_STRONG_AS_TORCHVISION = times(1 / 57.6, AS_STRONG_AS_CAFFE)
"""The same for torchvision's parameters, which were not at hand either: by the deviation of its
input, 0.226 times 255."""

AS_STRONG_AS_RAW = tuple((layer, 57.6) for layer, _ in AS_STRONG_AS_CAFFE)
"""For networks that are fed 0 ... 255 where they were trained on normalised pictures."""

SCIPY = Solver(precondition=0.0, round=21)
"""``fmin_l_bfgs_b(maxfun=20)`` again and again: it looks at its limit after a step, which makes 21
evaluations, and begins with an empty memory of ten pairs."""

ONE_SCALE = Scales(
    style_like_content=True, multiple=1, several=False, evaluations=(210,), margin=0.0
)
"""One scale, exact to the pixel, with all pictures of one size."""
