"""The smaller parts of a recipe, and how a field says that the command line offers it.

They are used by the names that :mod:`jaxnst.config` has for them; standard library only.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from jaxnst._checks import among, check, finite, positive

ChannelOrder = Literal["rgb", "bgr"]
Distribution = Literal["normal", "uniform"]
ColorMode = Literal["style", "content-luminance", "linear", "histogram"]
ColorTime = Literal["before", "after"]
LayerWeights = tuple[tuple[str, float], ...]
LayerNames = tuple[tuple[str, str], ...]


def option(default: Any, flag: str, help: str, **more: Any) -> Any:
    """Declare a field that the command line offers."""
    return field(default=default, metadata={"flag": flag, "help": help, **more})


@dataclass(frozen=True, kw_only=True)
class Space:
    """A linear colour space: ``(scale * image[order] - mean) / deviation``.

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
        among("order", self.order, get_args(ChannelOrder))
        positive("scale", self.scale)
        for mean, deviation in zip(self.mean, self.deviation, strict=True):
            finite("mean", mean)
            positive("deviation", deviation)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What a start from noise is, in the variable's space.

    Attributes:
      distribution: ``normal`` or ``uniform``.
      centre: Its mean, of every channel; None: that of mid-grey.
      spread: Standard deviation, or half the width of a uniform one.
      share: Of the noise in the start; the rest is the content picture.
    """

    distribution: Distribution = "normal"
    centre: float | None = None
    spread: float = 0.2
    share: float = 1.0

    def __post_init__(self) -> None:
        among("noise distribution", self.distribution, get_args(Distribution))
        if self.centre is not None:
            finite("noise centre", self.centre)
        positive("noise spread", self.spread)
        check("noise share", self.share, 0 < self.share <= 1, "above 0, up to 1")


@dataclass(frozen=True, kw_only=True)
class Colors:
    """Whose colours the result has.

    Attributes:
      mode: ``style``: they are learned with the rest of the style, and nothing is recoloured. Else
        the content's: ``content-luminance`` keeps its chroma and takes luminance from the style
        transfer, ``linear`` matches mean and covariance, ``histogram`` the three channels' values.
      when: ``before``: the styles are recoloured, and the picture follows them (for luminance, all
        pictures are grey meanwhile). ``after``: the result is recoloured.
    """

    mode: ColorMode = option(
        "style", "--colors", "whose colours: the style's, or the content's by one of three ways"
    )
    when: ColorTime = option(
        "before", "--colors-when", "recolour the styles before, or the result after"
    )

    def __post_init__(self) -> None:
        among("colors mode", self.mode, get_args(ColorMode))
        among("colors when", self.when, get_args(ColorTime))

    @property
    def before(self) -> bool:
        """Whether pictures are recoloured before the transfer."""
        return self.mode != "style" and self.when == "before"

    @property
    def after(self) -> bool:
        """Whether the result is recoloured: for content-luminance it always is."""
        return self.mode == "content-luminance" or (self.mode != "style" and self.when == "after")


@dataclass(frozen=True, kw_only=True)
class Approximation:
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
        positive("approximation's content", self.content)
        positive("approximation's style", self.style)
