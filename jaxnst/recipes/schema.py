"""Recipe dataclasses: a complete description of a style transfer method.

A :class:`Recipe` names the color space in which the image is optimized, the terms of the loss, the
solver and the scales. Open sets (layers, statistics, networks, solvers) are strings, checked
against their registry where they are used; closed sets and numbers are checked here. Everything is
frozen, hashable and free of arrays; this module imports the standard library only.

A field whose metadata holds ``flag`` is offered by the command line under that name, and by the
page of ``jaxnst studio`` under its ``label``, with the field's type, choices, help and default:
this module is the only place where they are stated.
"""

import dataclasses
import numbers
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from jaxnst._checks import among, check, finite, not_negative, positive, unknown

ChannelOrder = Literal["rgb", "bgr"]
Distribution = Literal["normal", "uniform"]
ColorMode = Literal["style", "content-luminance", "linear", "histogram", "palette"]
ColorTime = Literal["before", "after"]
LayerWeights = tuple[tuple[str, float], ...]
LayerNames = tuple[tuple[str, str], ...]
Normalization = Literal["mean", "sum", "target"]
StyleNormalization = Literal["none", "content"]
TotalVariationKind = Literal["squared", "sum", "power", "diagonal"]
Padding = Literal["zero", "edge", "reflect"]
Pooling = Literal["max", "avg", "avg-scaled"]
Side = Literal["longest", "shortest"]
Outside = Literal["painted", "content"]
Precision = Literal["float32", "tf32", "bfloat16"]

SHIPPED = "vgg16-lite"
"""The default loss network, which also stands in for others."""

ONE_PASS = "vgg19-lite"
"""The network of the bundled decoders, for ``jaxnst instant``."""

MOST_EVALUATIONS = 10**7

STARTS = ("content", "noise", "style", "style-colors", "instant")
"""What an image may start from by name; see :mod:`jaxnst.transfer.initial`."""

RANDOM_STARTS = ("noise", "style-colors")
"""Those of them that a seed decides."""


def option(default: Any, flag: str, help: str, **more: Any) -> Any:
    """Declare a field that the command line and the studio offer.

    Args:
      default: Its value.
      flag: Name on the command line.
      help: What it does, in one line.
      more: ``choices`` and ``metavar`` for the command line; for the studio a ``label``, by default
        made of the flag, and for a slider either ``span``, its least and greatest value, or
        ``spread``: the slider is logarithmic, and goes from the recipe's value divided by that to
        the recipe's value times that.
    """
    return field(default=default, metadata={"flag": flag, "help": help, **more})


class _Part:
    """Base of the dataclasses: checks types and closed sets of words, and makes tuples of lists.

    Layers with their values may be given as a dict, too.
    """

    label: ClassVar[str] = ""
    """Put before the name of a field in messages."""

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, (hint, optional) in _fields_of(kind).items():
            value, full_name = getattr(self, name), f"{self.label}{name.replace('_', ' ')}"
            if value is None and optional:
                continue
            if get_origin(hint) is Literal:
                among(full_name, value, get_args(hint))
                continue
            kept = _as_tuple(value)
            check(full_name, repr(value), _fits(kept, hint), _in_words(hint))
            object.__setattr__(self, name, kept)


_EXPECTED: dict[Any, tuple[type, str]] = {
    float: (numbers.Real, "a number"),
    int: (numbers.Integral, "a whole number"),
    str: (str, "a string"),
    bool: (bool, "true or false"),
}
"""What a field of some type may hold, and its name in messages."""


def _fits(value: Any, hint: Any) -> bool:
    if hint in _EXPECTED:
        is_bool = isinstance(value, bool) and hint is not bool
        return isinstance(value, _EXPECTED[hint][0]) and not is_bool
    if get_origin(hint) is not tuple:
        return not isinstance(hint, type) or isinstance(value, hint)
    parts = get_args(hint)
    if parts[-1] is Ellipsis:
        parts = parts[:1] * (len(value) if isinstance(value, tuple) else 0)
    return isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))


def _in_words(hint: Any) -> str:
    if get_origin(hint) is not tuple:
        return _EXPECTED[hint][1] if hint in _EXPECTED else f"a {hint.__name__}"
    parts = get_args(hint)
    if parts[0] == tuple[str, float]:
        return "names with numbers, such as {'relu4_1': 1.0}"
    if parts[-1] is Ellipsis:
        return f"a list, each entry {_in_words(parts[0])}"
    return " and ".join(map(_in_words, parts))


@cache
def _fields_of(kind: Any) -> dict[str, tuple[Any, bool]]:
    """List the fields of a part, each with its type and whether it may be None."""
    hints = get_type_hints(kind)
    return {field.name: without_none(hints[field.name]) for field in dataclasses.fields(kind)}


def without_none(hint: Any) -> tuple[Any, bool]:
    """Split ``X | None`` into X and True, and leave any other type as it is."""
    others = [other for other in get_args(hint) if other is not type(None)]
    return (others[0], True) if type(None) in get_args(hint) else (hint, False)


def _as_tuple(value: Any) -> Any:
    if isinstance(value, Mapping):
        value = tuple(value.items())
    is_sequence = isinstance(value, (list, tuple))
    return tuple(map(_as_tuple, value)) if is_sequence else value


@dataclass(frozen=True, kw_only=True)
class Space(_Part):
    """A linear color space: ``(scale * image[order] - mean) / deviation``.

    ``image`` is RGB in [0, 1]. A network's preprocessing is one, and so is the space in which a
    recipe's variable lives; start, steps, bounds and total variation are in the latter.

    Attributes:
      order: Channel order.
      scale: Largest value of a channel before the mean is subtracted: 1 or 255, as a rule.
      mean: Per channel, in this space's order.
      deviation: Per channel, in this space's order.
    """

    order: ChannelOrder = "rgb"
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("scale", self.scale)
        for mean, deviation in zip(self.mean, self.deviation, strict=True):
            finite("mean", mean)
            positive("deviation", deviation)


@dataclass(frozen=True, kw_only=True)
class Noise(_Part):
    """The noise that an image may start from, in the color space of the optimized variable.

    Attributes:
      distribution: ``normal`` or ``uniform``.
      centre: Its mean, of every channel; None: that of mid-gray.
      spread: Standard deviation, or half the width of a uniform one.
      share: Of the noise in the start; the rest is the content picture.
    """

    label: ClassVar[str] = "noise "

    distribution: Distribution = "normal"
    centre: float | None = None
    spread: float = 0.2
    share: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.centre is not None:
            finite("noise centre", self.centre)
        positive("noise spread", self.spread)
        check("noise share", self.share, 0 < self.share <= 1, "above 0, up to 1")


@dataclass(frozen=True, kw_only=True)
class Colors(_Part):
    """Whose colors the result has.

    Attributes:
      mode: ``style``: they are learned with the rest of the style, and nothing is recolored.
        ``palette``: the result keeps its lightness, and its hues and saturations are matched to the
        style's (mean and covariance of OKLab's a and b), always afterwards. Else the content's:
        ``content-luminance`` keeps its chroma and takes luminance from the style transfer,
        ``linear`` matches mean and covariance, ``histogram`` the three channels' values.
      when: ``before``: the styles are recolored, and the picture follows them (for luminance, all
        pictures are gray meanwhile). ``after``: the result is recolored.
    """

    label: ClassVar[str] = "colors "

    mode: ColorMode = option(
        "style",
        "--colors",
        "colors of the result: the style's (style; palette matches them at the end), or the "
        "content's (content-luminance, linear or histogram)",
        label="Colors",
    )
    when: ColorTime = option(
        "before", "--colors-when", "recolor the styles before the transfer, or the result after it"
    )

    @property
    def before(self) -> bool:
        """Whether pictures are recolored before the transfer."""
        return self.mode not in ("style", "palette") and self.when == "before"

    @property
    def after(self) -> bool:
        """Whether the result is recolored: for palette and content-luminance it always is."""
        always = self.mode in ("palette", "content-luminance")
        return always or (self.mode != "style" and self.when == "after")


@dataclass(frozen=True, kw_only=True)
class Approximation(_Part):
    """How ``vgg16-lite`` stands in for the network that a recipe was written for.

    Its feature maps are as strong as those of VGG16 with Caffe's parameters. The factors make both
    terms as large as on the genuine VGG16, midway between content and style (geometric mean of four
    pairs at 256 px); DenseNet's keep a balance that was chosen by eye.

    Attributes:
      layers: The recipe's layers, each with the one that stands in for it.
      content: Factor of the content term.
      style: Factor of the style term.
    """

    layers: LayerNames = ()
    content: float = 1.0
    style: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("approximation's content", self.content)
        positive("approximation's style", self.style)


def _layers(name: str, layers: LayerWeights, weight: float) -> None:
    if not layers and weight:
        raise ValueError(f"{name} layers is empty, expected at least one (layer, weight)")
    _once(f"{name} layers", layers)
    for layer, weight in layers:
        not_negative(f"{name} weight of {layer}", weight)


def _once(what: str, layers: LayerWeights | LayerNames) -> None:
    names = [layer for layer, _ in layers]
    if len(set(names)) < len(names):
        raise ValueError(f"{what} {names} name a layer twice")


@dataclass(frozen=True, kw_only=True)
class Content(_Part):
    """The content term: squared distance of feature maps.

    Attributes:
      weight: Factor of the whole term.
      layers: Layer names with their weights; there may be none if the weight is 0.
      normalization: ``mean`` over elements, ``sum``, or ``target`` (mean, divided by the mean
        square of the content image's own features).
    """

    label: ClassVar[str] = "content "

    weight: float = option(
        1.0, "--content-weight", "weight of the content loss", label="Likeness", spread=20
    )
    layers: LayerWeights = option(
        (("relu4_2", 1.0),),
        "--content-layers",
        "layers of the content loss, with weights: relu3_2:0.3,relu4_2:1",
    )
    normalization: Normalization = "target"

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("content weight", self.weight)
        _layers("content", self.layers, self.weight)


@dataclass(frozen=True, kw_only=True)
class Style(_Part):
    """The style term: how far a statistic of the image's feature maps is from the style's.

    Attributes:
      weight: Factor of the whole term.
      layers: Layer names with their weights, applied as they are; none if the weight is 0.
      normalization: ``content``: the term is divided by its value for the content picture, so that
        a weight has the same effect on every pair of pictures, as in the default recipe; ``none``:
        it is left as it is.
      statistic: Name in :data:`jaxnst.losses.statistics.STATISTICS`, such as ``gram``. With
        ``neighbors`` the loss is that of :mod:`jaxnst.losses.neighbors`: content weight and style
        weight are the proportion in which the photograph and the result of the scale before are
        mixed, and the nearest neighbors of that mixture are the targets.
      statistics: Names of those that single layers have in its place.
      distance: Name in :data:`jaxnst.losses.distances.DISTANCES`, such as ``gatys``: how
        the image's statistic and the style's are compared, and what is divided by.
      distances: Names of those that single layers have in its place.
    """

    label: ClassVar[str] = "style "

    weight: float = option(
        5.0,
        "--style-weight",
        "weight of the style loss: more gives more style",
        label="Style",
        spread=20,
    )
    layers: LayerWeights = option(
        tuple((f"relu{b}_1", 0.2) for b in range(1, 6)),
        "--style-layers",
        "layers of the style loss, with weights: relu1_1:0.5,relu3_1:2",
    )
    normalization: StyleNormalization = "none"
    statistic: str = option(
        "covariance",
        "--style-statistic",
        "statistic that describes a style: covariance, gram, mean-deviation, histogram or sliced; "
        "or neighbors, as in the recipe nnst",
    )
    statistics: LayerNames = option(
        (),
        "--style-statistics",
        "other statistics for single layers: relu1_1:histogram,relu2_1:sliced",
    )
    distance: str = option(
        "target",
        "--style-distance",
        "distance between statistics: target (relative), mean, wasserstein, or a published form "
        "such as gatys",
    )
    distances: LayerNames = option(
        (), "--style-distances", "other distances for single layers: relu5_1:wasserstein"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("style weight", self.weight)
        _layers("style", self.layers, self.weight)
        _once("style statistics", self.statistics)
        _once("style distances", self.distances)


@dataclass(frozen=True, kw_only=True)
class TotalVariation(_Part):
    """The smoothness term.

    Attributes:
      weight: Factor of the whole term.
      kind: ``squared`` (means of squared differences), ``sum`` (half the sum of the squared
        gradient), ``power`` (sum of the squared gradient to the power 1.25) or ``diagonal`` (means
        of squared differences with all eight neighbors).
      chroma: For ``squared``, further factor for differences in color at equal luminance; 1 treats
        the three channels alike.
    """

    label: ClassVar[str] = "total variation "

    weight: float = option(
        1.5,
        "--tv-weight",
        "weight of the total variation loss: more gives smoother pictures",
        label="Smoothness",
        spread=30,
    )
    kind: TotalVariationKind = option(
        "squared",
        "--tv-kind",
        "form of total variation: squared and diagonal are means over the pixels, sum and power "
        "are totals",
        label="Form of smoothness",
    )
    chroma: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("total variation weight", self.weight)
        not_negative("total variation chroma", self.chroma)


@dataclass(frozen=True, kw_only=True)
class Solver(_Part):
    """How the loss is minimized.

    Fields for the other kind of solver have no effect, except that L-BFGS refuses ``average``.

    Attributes:
      kind: Name in ``jaxnst.optim.solvers.SOLVERS``: ``lbfgs`` or ``adam``.
      learning_rate: Step scale. For L-BFGS, 1 is the plain quasi-Newton step.
      memory: Curvature pairs that L-BFGS keeps; None: ten, or fewer where a very large picture
        would not fit into memory with them.
      line_search: ``fixed`` (one evaluation per step) or ``zoom``.
      precondition: For L-BFGS: power of their size by which forms larger than a pixel are
        amplified in its steps (``jaxnst.optim.preconditioner``); 0: steps in plain pixels.
      round: For L-BFGS: evaluations after which it starts over with an empty memory, the image
        clipped to the recipe's bounds; None: never.
      betas: Adam's decay rates.
      pyramid: For Adam: whether it moves the coefficients of the image's Laplacian pyramid in place
        of pixels.
      average: Decay of the running average of iterates that is shown and handed on; 0: none. Every
        scale starts a new one.
      carry: For Adam: whether its moments are kept at the next scale, enlarged with the image.
        L-BFGS begins every scale with an empty memory.
    """

    kind: str = option("lbfgs", "--optimizer", "optimizer", choices=("lbfgs", "adam"))
    learning_rate: float | None = option(
        None, "--learning-rate", "learning rate (default: 1 for lbfgs, 0.02 for adam)"
    )
    memory: int | None = None
    line_search: Literal["fixed", "zoom"] = "fixed"
    precondition: float = 0.5
    round: int | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    pyramid: bool = False
    average: float = option(
        0.0,
        "--average",
        "with adam: return a running average of the iterates with this decay rate",
        metavar="RATE",
        span=(0.0, 0.999),
    )
    carry: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learning_rate is not None:
            positive("learning rate", self.learning_rate)
        if self.memory is not None:
            check("memory", self.memory, self.memory >= 1, "at least 1 curvature pair")
        power = self.precondition
        check("precondition", power, 0 <= power <= 2, "0 (none) to 2")
        if self.round is not None:
            check("round", self.round, self.round >= 2, "at least 2 evaluations")
            if self.line_search != "fixed":
                raise ValueError("rounds are for fixed steps: set round or line_search, not both")
        if self.pyramid and self.carry:
            raise ValueError("moments of a pyramid are not carried over: set pyramid or carry")
        for value in (*self.betas, self.average):
            check("decay rate", value, 0 <= value < 1, "0 <= rate < 1")

    @property
    def pairs(self) -> int:
        """Curvature pairs that L-BFGS keeps where memory allows it."""
        return 10 if self.memory is None else self.memory


@dataclass(frozen=True, kw_only=True)
class Scales(_Part):
    """Sizes of a run, coarse to fine: each is ``factor`` times the one before.

    Attributes:
      size: Side of the result in pixels where none is asked for; None: the method leaves it open.
      side: Which side that is. With ``shortest`` it is at most the content's longest side.
      aspect: Width over height of the result, to which pictures are stretched, or its inverse, so
        that an upright content stays upright and a wide one wide; None: the content's.
      style_scale: Size of the styles in proportion to the result's, where no size is asked for:
        above 1 their strokes come out larger. A style is never enlarged beyond its own size.
      style_like_content: Whether styles are stretched to the size of the content, in place of
        keeping their shape.
      multiple: Sides of scales are rounded to a multiple of this; those of styles to a multiple of
        2, 1 or 1/2 times this, whichever comes first that changes them by at most 3 %. Fewer
        distinct shapes mean fewer compiled programs. 1 keeps all sides exact.
      sides: Longest sides of the scales in pixels, coarsest first; the last is the result's, and
        ``size``, ``several``, ``least``, ``factor`` and ``extra`` have no effect. Empty: as if
        ``several`` were set. None: the other fields decide.
      several: Whether there are coarser scales than the final one.
      least: Longest side of the coarsest scale, pixels; smaller scales are left out.
      factor: Ratio of one scale's side to the next coarser one's.
      extra: Pixels by which every coarser scale is longer than ``factor`` alone makes it. Max
        pooling draws faint edges along its cells; where sizes just double, those lie on cells of
        the next scale and stay.
      evaluations: Loss evaluations per scale, coarsest first; the last repeats for further ones.
      last_pass: Loss evaluations of a further pass at the size of the last scale; 0: there is none.
      steps: Total loss evaluations, shared over the scales in that proportion, or None.
    """

    size: int | None = None
    side: Side = "longest"
    aspect: float | None = None
    style_scale: float = option(
        1.0,
        "--style-scale",
        "size of the styles relative to the result: 1.5 gives larger strokes",
        label="Stroke size",
        spread=3,
    )
    style_like_content: bool = False
    multiple: int = 16
    sides: tuple[int, ...] | None = option(
        None,
        "--scales",
        "longest side at each scale, coarse to fine, the last being the result's: 128,256,512; or "
        "auto, for several scales even if the recipe has one (default: the recipe's)",
    )
    several: bool = True
    least: int = 128
    factor: float = 2.0
    extra: int = 0
    evaluations: tuple[int, ...] = (50, 40, 22)
    last_pass: int = 0
    steps: int | None = option(
        None,
        "--steps",
        "number of loss evaluations, shared among the scales (default: the recipe's)",
        label="Evaluations",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None:
            check("size", self.size, self.size >= 16, "at least 16 pixels")
        sides = self.sides or ()
        fit = min(sides, default=16) >= 16 and list(sides) == sorted(set(sides))
        check("scales", sides, fit, "increasing sides of at least 16 pixels")
        if self.aspect is not None:
            positive("aspect", self.aspect)
        positive("style scale", self.style_scale)
        check("multiple", self.multiple, 1 <= self.multiple <= 256, "1 to 256 pixels")
        check("least scale", self.least, self.least >= 16, "at least 16 pixels")
        check("scale factor", self.factor, self.factor >= 1.05, "at least 1.05")
        check("scale extra", self.extra, 0 <= self.extra <= 64, "0 to 64 pixels")
        last = self.last_pass
        fit = 0 <= last <= MOST_EVALUATIONS
        check("last pass", last, fit, f"0 (none) to {MOST_EVALUATIONS} evaluations")
        counts = self.evaluations
        fit = bool(counts) and min(counts) >= 1 and max(counts) <= MOST_EVALUATIONS
        check("evaluations", counts, fit, f"at least 1 per scale, at most {MOST_EVALUATIONS}")
        if self.steps is not None:
            fit = 1 <= self.steps <= MOST_EVALUATIONS
            check("steps", self.steps, fit, f"at least 1, at most {MOST_EVALUATIONS}")


@dataclass(frozen=True, kw_only=True)
class Recipe(_Part):
    """A complete description of a style transfer method.

    Attributes:
      name: What it is called.
      summary: One line about it.
      network: Loss network it is meant for.
      init: What the image starts from: one of :data:`.STARTS`, or for the command line a path.
      noise: What a start from noise is.
      pooling: The loss network's pooling, or None for its own; ``avg-scaled`` are means times a
        factor that makes them about as large as maxima (:mod:`jaxnst.networks.layers`).
      padding: The loss network's padding, or None for its own.
      first_padding: That of its first convolution, or None for the same.
      preprocessing: What the loss network is fed, or None for what it was trained on.
      unit_means: Whether each of the loss network's filters is rescaled to a mean activation of 1
        over the pictures given. A network published with such filters, as the VGG of Gatys et al.
        is, is left alone.
      space: Where the variable lives.
      bounds: Least and greatest value, in that space, or None. Adam's every step is clipped to
        them, and every round of L-BFGS.
      content: The content term.
      style: The style term.
      tv: The smoothness term.
      solver: How the loss is minimized.
      scales: Sizes and evaluations.
      colors: Whose colors the result has.
      outside: What is shown where no mask covers: ``painted`` (as it comes out there, without a
        style and blurred) or ``content`` (the content's own pixels).
      approximation: How ``vgg16-lite`` stands in for ``network``, or None: it does not.
    """

    name: str = "default"
    summary: str = ""
    network: str = SHIPPED
    init: str = option(
        "content",
        "--init",
        f"image to start from: {', '.join(STARTS)}, or a picture's path",
        label="Start",
    )
    noise: Noise = Noise()
    pooling: Pooling | None = option(
        None,
        "--pooling",
        "pooling of the loss network; avg-scaled averages, scaled to be as large as maxima "
        "(default: its own)",
    )
    padding: Padding | None = option(
        None, "--padding", "padding of all convolutions of the loss network (default: its own)"
    )
    first_padding: Padding | None = None
    preprocessing: Space | None = None
    unit_means: bool = False
    space: Space = Space()
    bounds: tuple[float, float] | None = None
    content: Content = Content()
    style: Style = Style()
    tv: TotalVariation = TotalVariation()
    solver: Solver = Solver()
    scales: Scales = Scales()
    colors: Colors = Colors()
    outside: Outside = option(
        "painted",
        "--outside",
        "what to show where no mask is white: painted, as it comes out there, which is blurred; or "
        "content, the photograph itself",
    )
    approximation: Approximation | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bounds is not None:
            least, greatest = self.bounds
            check("bounds", self.bounds, least < greatest, "(least, greatest)")
        solver, content, style = self.solver, self.content, self.style
        if solver.kind == "lbfgs" and solver.average > 0:
            raise ValueError(
                f"averaged iterates are for adam, but average is {solver.average} and the "
                "optimizer lbfgs: take adam, or an average of 0"
            )
        if solver.kind == "lbfgs" and self.bounds is not None and solver.round is None:
            raise ValueError("lbfgs keeps to bounds between rounds only: give round, or use adam")
        if solver.pyramid and self.bounds is not None:
            raise ValueError("a pyramid has no bounds: set pyramid or bounds, not both")
        if style.statistic == "neighbors":
            if solver.kind != "adam" or not solver.pyramid:
                raise ValueError(
                    "style statistic 'neighbors' is for adam with pyramid = true, as in the recipe "
                    f"nnst, but the optimizer is {solver.kind}, pyramid {solver.pyramid}"
                )
            if style.weight == 0:
                raise ValueError("style weight is 0, expected above 0 for statistic 'neighbors'")
        if content.weight == style.weight == 0:
            raise ValueError("content weight and style weight are both 0: nothing to optimize")


# --- color spaces of networks --------------------------------------------------------------------

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


# --- fields that the command line offers ---------------------------------------------------------

Option = tuple[tuple[str, ...], dataclasses.Field[Any], Any]
"""A field of a recipe: its path, the field, and its current value."""


def walk(part: Any, *, path: tuple[str, ...] = ()) -> Iterator[Option]:
    """Go through all fields of a recipe, each part before its own fields."""
    for f in dataclasses.fields(part):
        here, value = (*path, f.name), getattr(part, f.name)
        yield here, f, value
        if dataclasses.is_dataclass(value):
            yield from walk(value, path=here)


def options(recipe: Recipe) -> dict[str, Option]:
    """List what the command line offers of a recipe, by flag."""
    return {
        f.metadata["flag"]: (path, f, value)
        for path, f, value in walk(recipe)
        if "flag" in f.metadata
    }


def replace(recipe: Recipe, path: tuple[str, ...], value: Any) -> Recipe:
    """Return the recipe with one field set, e.g. ``("style", "weight")``."""
    return replace_all(recipe, {path: value})


def replace_all(recipe: Recipe, values: Mapping[tuple[str, ...], Any]) -> Recipe:
    """Return the recipe with several fields set; only the final combination is checked."""
    changes: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    if values.get(("solver", "kind"), recipe.solver.kind) != recipe.solver.kind:
        values = {("solver", "learning_rate"): None, **values}  # the recipe's is the other's
    for (name, *inner), value in values.items():
        if inner:
            parts.setdefault(name, {})[inner[0]] = value
        else:
            changes[name] = value
    for name, fields in parts.items():
        changes[name] = dataclasses.replace(changes.get(name, getattr(recipe, name)), **fields)
    return dataclasses.replace(recipe, **changes)


def keyword_paths(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Return the path of the field that each keyword of :func:`override` sets.

    Example:
      >>> keyword_paths(Recipe())["style_weight"], keyword_paths(Recipe())["colors"]
      (('style', 'weight'), ('colors', 'mode'))
    """
    flags, paths = _keywords(recipe)
    return paths | flags


def option_name(flag: str) -> str:
    """Return the keyword of an option, given its flag.

    Example:
      >>> option_name("--style-weight")
      'style_weight'
    """
    return flag[2:].replace("-", "_")


def _keywords(recipe: Recipe) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """List the keywords that are flags, and those that are fields, each with the field's path."""
    paths = {"_".join(path): path for path, _, _ in walk(recipe)}
    flags = {option_name(flag): path for flag, (path, _, _) in options(recipe).items()}
    return flags, paths


def override(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return the recipe with fields set by keywords.

    Args:
      recipe: The recipe.
      values: By keyword: a flag of the command line with underscores (``style_weight``, ``steps``,
        ``colors``), a part and its field (``solver_memory``, ``scales_factor``), or a field of
        :class:`Recipe` (``bounds``, or ``style`` with a whole :class:`Style`).

    Raises:
      TypeError: If there is no such keyword; the message has the nearest.
      ValueError: If a value is of the wrong type or out of range.

    Example:
      >>> override(Recipe(), {"style_weight": 15.0, "colors": "linear"}).colors.mode
      'linear'
    """
    flags, paths = _keywords(recipe)
    changes = {}
    for name, value in values.items():
        if name == "scales" and value == "auto":
            value = ()
        if name not in paths | flags:
            raise TypeError(unknown("option", name, {**flags, **paths}))
        part = getattr(recipe, name, None)
        if name in flags and not dataclasses.is_dataclass(value):  # colors="linear" is its mode
            changes[flags[name]] = _as_tuple(value)
        elif dataclasses.is_dataclass(part) and not isinstance(value, type(part)):
            raise TypeError(f"{name} is {value!r}, expected a jaxnst.{type(part).__name__}")
        else:
            changes[paths[name]] = _as_tuple(value)
    return replace_all(recipe, changes)
