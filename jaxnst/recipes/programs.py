"""The methods of a paper and of two programs; the package tells what they have in common."""

from dataclasses import replace

from jaxnst.config import (
    Approximation,
    Content,
    Noise,
    Recipe,
    Scales,
    Solver,
    Style,
    TotalVariation,
)
from jaxnst.preprocessing import CAFFE
from jaxnst.recipes.common import (
    FIRST_OF_FIVE,
    ONE_SCALE,
    TORCHVISION,
    equally,
)

GATYS2016 = Recipe(
    name="gatys2016",
    summary="Gatys, Ecker, Bethge 2016: Gram matrices of five layers, from white noise",
    network="vgg19",
    init="noise",
    noise=Noise(centre=0.0, spread=1.0),
    pooling="avg",
    padding="zero",
    unit_means=True,
    space=CAFFE,
    content=Content(weight=1.0, normalization="sum"),
    style=Style(weight=1000.0, layers=equally(*FIRST_OF_FIVE), statistic="gram", distance="gatys"),
    tv=TotalVariation(weight=0.0),
    solver=Solver(precondition=0.0),
    scales=replace(ONE_SCALE, size=512, evaluations=(500,)),
    approximation=Approximation(content=1.9, style=0.34),
)
"""Image Style Transfer Using Convolutional Neural Networks, CVPR 2016.

Loss: content ``sum (F - P)^2 / 2`` at relu4_2 (eq. 1), style ``sum (G - A)^2 / (4 N^2 C^2)``, a
fifth of each layer's (eqs. 4 and 5); content to style 1e-3 as in figure 3 B (8e-4 in C, 5e-3 in D,
5e-4 in E and F). Average pooling, styles resized to the content's size, L-BFGS, white noise.

The ratio holds for their VGG19, whose filters have a mean activation of 1 over ImageNet. With any
other file each filter is brought to a mean of 1 over the pictures given (``unit_means``). The paper
does not say how many steps, nor the noise's deviation: 500 and 1 (of 255).
"""

NEURAL_STYLE = Recipe(
    name="neural-style",
    summary="jcjohnson's neural-style with its defaults, L-BFGS from noise",
    network="vgg19",
    init="noise",
    noise=Noise(centre=0.0, spread=1e-3),
    pooling="max",
    padding="zero",
    space=replace(CAFFE, scale=256.0),
    preprocessing=replace(CAFFE, scale=256.0),
    content=Content(weight=5.0, normalization="mean"),
    style=Style(
        weight=100.0,
        layers=tuple((layer, 1.0) for layer in FIRST_OF_FIVE),
        statistic="gram",
        distance="elements",
    ),
    tv=TotalVariation(weight=1e-3, kind="sum"),
    solver=Solver(precondition=0.0, memory=100),
    scales=replace(ONE_SCALE, size=512, style_like_content=False, evaluations=(1000,)),
    approximation=Approximation(content=1.1, style=0.29),
)
"""jcjohnson/neural-style (Torch), the options' defaults.

Loss: content ``mean (F - P)^2`` at relu4_2, 5; style ``mean (G - A)^2`` of Gram matrices over C N,
100 at each of five layers; the gradient of ``sum (dx^2 + dy^2) / 2``, 1e-3 (its total variation has
a gradient but no value: ours adds the value to the loss). Pixels are 0 ... 256, as it multiplies.
L-BFGS without a line search, 100 pairs, 1000 steps, from noise of deviation 0.001.

It enlarges small style pictures to the size asked for: we do not.
"""

WASSERSTEIN = Recipe(
    name="wasserstein",
    summary="covariance transport as in style-transfer-pytorch, Adam, coarse to fine",
    network="vgg19-torchvision",
    init="content",
    pooling="max",
    padding="zero",
    first_padding="edge",
    bounds=(0.0, 1.0),
    content=Content(weight=0.015, normalization="mean"),
    style=Style(
        weight=1.0,
        layers=tuple(zip(FIRST_OF_FIVE, (w / 341 for w in (256, 64, 16, 4, 1)), strict=True)),
        statistic="covariance",
        distance="wasserstein",
    ),
    tv=TotalVariation(weight=2.0, kind="diagonal"),
    solver=Solver(kind="adam", learning_rate=0.02, betas=(0.9, 0.99), average=0.99, carry=True),
    scales=Scales(size=512, multiple=1, least=128, factor=2**0.5, evaluations=(1000, 500)),
    approximation=Approximation(content=1.1 * TORCHVISION**2, style=1.2 * TORCHVISION**2),
)
"""crowsonkb/style-transfer-pytorch, the options' defaults.

Loss: content ``mean (F - P)^2`` at relu4_2, 0.015; style, the squared Wasserstein distance of
normal distributions over C, at five layers with weights 256, 64, 16, 4, 1 over 341; total variation
of the nine-point stencil, 2. Sizes shrink by the root of 2 down to 128, 1000 steps at the smallest
and 500 at each further one; Adam with step 0.02, clipped to 0 ... 1; the running average of the
iterates is the picture.

The roots take its twelve Newton-Schulz steps, but the gradient follows from the inverse root that
these steps give too, in place of another twelve steps that solve an equation: docs/recipes.md
compares them. Adam's moments are carried from scale to scale as there; the average begins without
a scale's first picture.
"""
