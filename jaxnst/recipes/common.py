"""What several published methods share."""

from jaxnst.config import LayerWeights, Scales, Solver


def equally(*layers: str) -> LayerWeights:
    """Weigh layers alike, 1 in all."""
    return tuple((layer, 1 / len(layers)) for layer in layers)


FIRST_OF_FIVE = tuple(f"relu{b}_1" for b in range(1, 6))

TORCHVISION = 1 / 57.6
"""Strength of feature maps with torchvision's parameters in terms of those with Caffe's: one over
the deviation of its input, 0.226 times 255. The parameters themselves were not at hand."""

SCIPY = Solver(precondition=0.0, round=21)
"""``fmin_l_bfgs_b(maxfun=20)`` again and again: it looks at its limit after a step, which makes 21
evaluations, and begins with an empty memory of ten pairs."""

ONE_SCALE = Scales(style_like_content=True, multiple=1, several=False, evaluations=(210,))
"""One scale, exact to the pixel, with all pictures of one size."""
