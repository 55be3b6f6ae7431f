"""Built-in recipes: our own, and those of papers, posts and programs.

Below, F, P and S are feature maps of the image, the content and the style, with C channels and N
positions; G are Gram matrices (sums over positions); H x W is the size of the image. What the
originals leave open, and where a recipe differs from them, is stated at each. All differ in two
points:

* Statistics are averages over positions; where a formula sums over them, N of the image is
  multiplied back in. With images of one size, as the authors have them, that is the same.
* L-BFGS takes fixed steps with a guard (:mod:`jaxnst.optim.lbfgs`), where SciPy and some PyTorch
  programs search along a line. Round for round the losses are as low: docs/recipes.md.
"""

from dataclasses import replace
from typing import TypeVar

from jaxnst._checks import unknown
from jaxnst.recipes.schema import (
    CAFFE,
    IMAGENET,
    MATCONVNET,
    SHIPPED,
    Approximation,
    Colors,
    Content,
    LayerWeights,
    Noise,
    Recipe,
    Scales,
    Solver,
    Space,
    Style,
    TotalVariation,
)

T = TypeVar("T")

STAND_IN = SHIPPED
"""The network that stands in for others."""

# --- shared by several recipes -------------------------------------------------------------------


def equally(*layers: str) -> LayerWeights:
    """Weigh layers alike, 1 in all."""
    return tuple((layer, 1 / len(layers)) for layer in layers)


FIRST_OF_FIVE = tuple(f"relu{b}_1" for b in range(1, 6))

TORCHVISION = 1 / 57.6
"""Strength of feature maps with torchvision's parameters in terms of those with Caffe's: one over
the deviation of its input, 0.226 times 255. The parameters themselves were not at hand."""

SCIPY = Solver(memory=10, precondition=0.0, round=21)
"""``fmin_l_bfgs_b(maxfun=20)`` again and again: it looks at its limit after a step, which makes 21
evaluations, and begins with an empty memory of ten pairs."""

ONE_SCALE = Scales(style_like_content=True, multiple=1, several=False, evaluations=(210,))
"""One scale, exact to the pixel, with all pictures of one size."""

# --- our own -------------------------------------------------------------------------------------

DEFAULT = Recipe(
    name="default",
    summary="covariances of five layers, coarse to fine, L-BFGS",
    padding="edge",
    style=Style(weight=5.0, normalization="content"),
    scales=Scales(extra=16),
)
"""Ours: mean and covariance at relu1_1 ... relu5_1, each relative to the style's own, which weighs
large forms and fine texture alike at every size, and over what they are for the photograph, so that
a pair of pictures comes out as strong as any other; content at relu4_2; three scales from coarse to
fine, which gives strokes as large as the painting's. How it was chosen: docs/experiments.md."""

# --- posts ---------------------------------------------------------------------------------------

KERAS_VGG16_AVGPOOL = Recipe(
    name="keras-vgg16-avgpool",
    summary="Keras VGG16 with average pooling, L-BFGS in rounds, from noise",
    network="vgg16",
    init="noise",
    noise=Noise(distribution="uniform", centre=0.0, spread=0.025),
    pooling="avg",
    padding="zero",
    space=CAFFE,
    bounds=(-127.0, 127.0),
    content=Content(weight=1 / 15 / 512, normalization="mean"),
    style=Style(
        weight=1 / 64,
        layers=(
            ("relu1_2", 0.05),
            ("relu2_2", 0.2),
            ("relu3_2", 0.2),
            ("relu4_2", 0.25),
            ("relu5_2", 0.3),
        ),
        statistic="gram",
        distance="rows",
    ),
    tv=TotalVariation(weight=0.0),
    solver=SCIPY,
    scales=replace(ONE_SCALE, size=500, aspect=500 / 350),
    approximation=Approximation(layers=(("relu5_2", "relu5_1"),), content=0.83, style=0.56),
)
"""The post *Style over Matter* (VGG16 in Keras).

Loss: content, the mean over channels of ``(F - P)^2``, summed over positions and divided by the
layer's elements, which divides by C = 512 once more than a mean does; over 15. Style: Gram matrices
over C N, mean over one axis of the squared difference, sum over the other, divided by the elements
of relu1_2, 64 H W. Pictures are stretched to 500 x 350. Ten rounds of ``maxfun=20``, the image
clipped to -127 ... 127 after each. The post saves its pictures with stretched contrast: we do not.
"""

KERAS_VGG19_TV = Recipe(
    name="keras-vgg19-tv",
    summary="Keras VGG19 with total variation, L-BFGS in rounds",
    network="vgg19",
    init="content",
    pooling="max",
    padding="zero",
    space=CAFFE,
    content=Content(weight=2 * 0.025, layers=(("relu5_2", 1.0),), normalization="sum"),
    style=Style(weight=1.0, layers=equally(*FIRST_OF_FIVE), statistic="gram", distance="keras"),
    tv=TotalVariation(weight=1.0, kind="power"),
    solver=SCIPY,
    scales=ONE_SCALE,
    approximation=Approximation(layers=(("relu5_2", "relu5_1"),), content=0.32, style=4.6),
)
"""The post *Neural Style Transfer In Keras* (VGG19).

Loss: content ``sum (F - P)^2`` (twice our ``sum``) at relu5_2, 0.025; style ``sum (G - A)^2 /
(4 (H W)^2 3^2)`` at five layers, a fifth each; total variation ``sum (dx^2 + dy^2)^1.25``, 1. All
pictures have one size, of the user's choice.

From the Keras example that the post follows, not from the post: the form of the total variation,
maximum pooling, the start from the content picture, ten rounds of ``maxfun=20``.
"""

_CONCATS = tuple(f"conv2_block{i}_concat" for i in range(1, 7))
_RAW = Space(scale=255.0)


def _densenet(name: str) -> Recipe:
    return Recipe(
        name=f"keras-{name}",
        summary=f"Keras {name.replace('densenet', 'DenseNet')}, L-BFGS in rounds, from noise",
        network=name,
        init="noise",
        noise=Noise(distribution="uniform", centre=-0.5, spread=127.5),
        padding="zero",
        space=_RAW,
        preprocessing=_RAW,
        content=Content(weight=4.0, layers=(("conv2_block3_0_relu", 1.0),), normalization="sum"),
        style=Style(weight=500000.0, layers=equally(*_CONCATS), statistic="gram", distance="keras"),
        tv=TotalVariation(weight=1e-4, kind="power"),
        solver=SCIPY,
        scales=replace(ONE_SCALE, size=244, aspect=1.0, evaluations=(1680,)),
        approximation=Approximation(
            layers=(
                ("conv2_block3_0_relu", "relu2_2"),
                *zip(
                    _CONCATS,
                    ("relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu4_1"),
                    strict=True,
                ),
            ),
            content=0.011,
            style=3e-5,
        ),
    )


KERAS_DENSENET121 = _densenet("densenet121")
"""The post *Neural Style Transfer using DenseNet* (Keras).

Loss: content ``sum (F - P)^2 / 2`` at conv2_block3_0_relu, 4; style ``sum (G - A)^2 /
(4 (H W)^2 3^2)`` at conv2_block1_concat ... conv2_block6_concat, 500000 shared by six; total
variation ``sum (dx^2 + dy^2)^1.25``, 0.0001. Pictures are stretched to a square, 244 (its text says
224), then 512. The network is fed RGB in 0 ... 255 as it is, without its preprocessing, and so is
ours. Uniform noise in -128 ... 127, 80 rounds of ``maxfun=20``.
"""

KERAS_DENSENET169 = _densenet("densenet169")
"""The same with DenseNet169, which the post proposes for better results."""

KERAS_DENSENET201 = _densenet("densenet201")
"""The same with DenseNet201."""

PYTORCH_VGG19_ADAM = Recipe(
    name="pytorch-vgg19-adam",
    summary="torchvision VGG19, Adam for 2000 steps from the content",
    network="vgg19-torchvision",
    init="content",
    pooling="max",
    padding="zero",
    space=IMAGENET,
    content=Content(weight=1.0, normalization="mean"),
    style=Style(
        weight=1e6,
        layers=(
            ("relu1_1", 1.0),
            ("relu2_1", 0.8),
            ("relu3_1", 0.5),
            ("relu4_1", 0.3),
            ("relu5_1", 0.1),
        ),
        statistic="gram",
        distance="sums",
    ),
    tv=TotalVariation(weight=0.0),
    solver=Solver(kind="adam", learning_rate=0.003, betas=(0.9, 0.999)),
    scales=replace(ONE_SCALE, size=400, side="shortest", evaluations=(2000,)),
    approximation=Approximation(content=1.1 * TORCHVISION**2, style=0.54 * TORCHVISION**4),
)
"""The post *Neural Style Transfer using CNN* (PyTorch).

Loss: content ``mean (F - P)^2`` at relu4_2; style ``mean (G - A)^2 / (C N)`` at five layers with
weights 1, 0.8, 0.5, 0.3, 0.1, times 1e6. Adam, learning rate 0.003, in the space of torchvision's
preprocessing, without bounds; 2000 steps (its text suggests up to 5000). The style is stretched to
the content's size.

Its text speaks of cropping to 400 pixels; its code scales the *shorter* side to 400, or to the
longest side where that is below 400: so do we. ``--size`` is the longest side, as everywhere.
"""

TENSORFLOW_VGG19_MATCONVNET = Recipe(
    name="tensorflow-vgg19-matconvnet",
    summary="MatConvNet VGG19 with average pooling, Adam for 5000 steps from noise and content",
    network="vgg19",
    init="noise",
    noise=Noise(distribution="uniform", centre=0.0, spread=20.0, share=0.6),
    pooling="avg",
    padding="zero",
    space=MATCONVNET,
    content=Content(weight=5 / 4, normalization="mean"),
    style=Style(
        weight=100.0,
        layers=(
            ("relu1_1", 0.5),
            ("relu2_1", 1.0),
            ("relu3_1", 1.5),
            ("relu4_1", 3.0),
            ("relu5_1", 4.0),
        ),
        statistic="gram",
        distance="gatys",
    ),
    tv=TotalVariation(weight=0.0),
    solver=Solver(kind="adam", learning_rate=2.0, betas=(0.9, 0.999)),
    scales=replace(ONE_SCALE, size=800, aspect=800 / 600, evaluations=(5000,)),
    approximation=Approximation(content=0.83, style=1.1),
)
"""The post on log0's *A Neural Algorithm of Artistic Style* (TensorFlow).

Loss: content ``sum (F - P)^2 / (4 C N)`` at relu4_2 (from the post), 5; style ``sum (G - A)^2 /
(4 C^2 N^2)`` at five layers with weights 0.5, 1, 1.5, 3, 4, times 100. Average pooling. 800 x 600.

From the code that the post explains: the MatConvNet parameters (``--weights``; Keras' are the same
network's), the style term, the start (0.6 of noise uniform in -20 ... 20, 0.4 of the content), Adam
with learning rate 2, 5000 steps. Adam's decay rates are TensorFlow's defaults.
"""

# --- a paper and programs ------------------------------------------------------------------------

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
compares them. Adam's moments are carried from scale to scale as in that program; the average begins
without a scale's first picture.
"""

NNST = Recipe(
    name="nnst",
    summary="nearest neighbors of features, coarse to fine, Adam on a Laplacian pyramid",
    init="content",
    padding="edge",
    content=Content(weight=0.75),
    style=Style(
        weight=0.25,
        layers=tuple(
            (f"relu{b}_{i}", 1.0)
            for b, last in enumerate((2, 2, 3, 3), 1)
            for i in range(1, last + 1)
        ),
        statistic="neighbors",
    ),
    tv=TotalVariation(weight=0.0),
    solver=Solver(kind="adam", learning_rate=0.002, betas=(0.9, 0.999), pyramid=True),
    scales=Scales(multiple=1, least=48, evaluations=(200,), last_pass=25),
    colors=Colors(mode="palette"),
)
"""Kolkin et al. 2022, *Neural Neighbor Style Transfer* (arXiv:2203.13215), NNST-Opt, with the
settings of the authors' program.

Hypercolumns: features of relu1_1 ... relu4_3, each over its number of channels, brought to a
quarter of the picture's size and joined. At each scale, from 48 to 95 pixels on, the hypercolumns
of the photograph, three parts, and the enlarged result of the scale before, one part (its coarse
forms; fine ones are all the photograph's), are replaced by the nearest of the painting (cosine
distance, centered), which is also looked at turned by 90, 180 and 270 degrees. 200 steps of Adam on
the Laplacian pyramid of the picture bring its hypercolumns to those (mean cosine distance). A last
pass compares the layers one by one, each with the neighbors that are nearest at that step, on
samples. In the end a and b of OKLab are given the mean and covariance of the painting's.

What differs: convolutions repeat the edges, as in the default recipe, and do not pad with zeros.
Maps are interpolated between the centers of pixels, and the mean of the content is that of all
positions, not of a block. The last pass has 25 steps, not 200: nothing holds it to the photograph,
and at 384 pixels 200 replaced houses by stars (*The Starry Night*, bundled network). It has at most
2048 positions of each layer and 4096 vectors of the painting at a step, out of 16384. Layers are
averaged there, not summed. Colors at the end are those of the result, where the program maps the
photograph's and filters them along the result's edges. The network is the bundled one, not
torchvision's VGG16; ``--network vgg16`` is the genuine one, with Keras' parameters.
"""

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        DEFAULT,
        GATYS2016,
        KERAS_VGG16_AVGPOOL,
        KERAS_VGG19_TV,
        KERAS_DENSENET121,
        KERAS_DENSENET169,
        KERAS_DENSENET201,
        PYTORCH_VGG19_ADAM,
        TENSORFLOW_VGG19_MATCONVNET,
        NEURAL_STYLE,
        WASSERSTEIN,
        NNST,
    )
}


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
      KeyError: If there is none of that name; the message gives the nearest.

    Example:
      >>> from dataclasses import replace
      >>> recipe = get_recipe("gatys2016")
      >>> recipe.network, recipe.style.statistic
      ('vgg19', 'gram')
      >>> replace(recipe, init="content").init
      'content'
    """
    if name not in RECIPES:
        raise KeyError(unknown("recipe", name, RECIPES))
    return RECIPES[name]


def as_recipe(recipe: str | Recipe) -> Recipe:
    """Return a recipe by name, or the one given.

    Raises:
      KeyError: If there is none of that name; the message gives the nearest.
      TypeError: If it is neither a recipe nor a name.
    """
    if isinstance(recipe, str):
        return get_recipe(recipe)
    if not isinstance(recipe, Recipe):
        kind = type(recipe).__name__
        raise TypeError(f"recipe is a {kind}, expected a name or a jaxnst.Recipe")
    return recipe


def recipe_on(recipe: Recipe, network: str) -> Recipe:
    """Return a recipe as it runs on a network: for ``vgg16-lite`` in another's place, adapted.

    Layers that it lacks are replaced, and terms weighted, as the recipe's
    :class:`~jaxnst.recipes.Approximation` says.
    """
    stand_in = recipe.approximation
    if network != STAND_IN or recipe.network == STAND_IN or stand_in is None:
        return recipe
    names = dict(stand_in.layers)

    def renamed(layers: tuple[tuple[str, T], ...]) -> tuple[tuple[str, T], ...]:
        return tuple((names.get(layer, layer), value) for layer, value in layers)

    content, style = recipe.content, recipe.style
    return replace(
        recipe,
        network=STAND_IN,
        preprocessing=None,  # which is another network's
        content=replace(
            content, weight=content.weight * stand_in.content, layers=renamed(content.layers)
        ),
        style=replace(
            style,
            weight=style.weight * stand_in.style,
            layers=renamed(style.layers),
            statistics=renamed(style.statistics),
            distances=renamed(style.distances),
        ),
    )


def base_recipe(name: str, network: str) -> Recipe:
    """Return a recipe by name as it runs on a network, as TOML files name their base."""
    return recipe_on(get_recipe(name), network)


def is_approximation(recipe: Recipe) -> bool:
    """Return whether :func:`recipe_on` has adapted a recipe."""
    return recipe.network == STAND_IN and recipe.approximation is not None
