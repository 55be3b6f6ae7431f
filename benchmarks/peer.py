"""What the PyTorch peers need to know of a problem of ours, in plain values."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from jaxnst.losses.objective import LossWeights, make_loss_weights, make_objective
from jaxnst.networks import LossNetwork
from jaxnst.networks.vgg import VGG
from jaxnst.recipes.schema import Recipe

if TYPE_CHECKING:
    from benchmarks.torch_loss import Setting

KNOWN: Mapping[str, tuple[str, ...]] = {
    "content normalization": ("target",),
    "distance": ("target",),
    "statistic": ("covariance", "gram"),
    "tv kind": ("squared",),
}


def setting_of(
    recipe: Recipe, network: LossNetwork, *, numbers: LossWeights | None = None
) -> "Setting":
    """Say in plain values what a recipe's loss computes on a VGG.

    Args:
      recipe: The method.
      network: Its loss network.
      numbers: Weights in place of the recipe's.

    Raises:
      ValueError: If the PyTorch loss does not know the formula.
    """
    from benchmarks.torch_loss import Setting

    objective = make_objective(recipe, network)
    own = {
        "content normalization": recipe.content.normalization,
        "distance": recipe.style.distance,
        "statistic": recipe.style.statistic,
        "tv kind": recipe.tv.kind,
    }
    for name, value in own.items():
        if value not in KNOWN[name]:
            raise ValueError(
                f"the default recipe's {name} is {value!r}, but the PyTorch loss knows "
                f"{', '.join(KNOWN[name])}: teach it the new one in torch_loss.py"
            )
    module = objective.network.module
    if not isinstance(module, VGG):
        raise ValueError(f"{network.name} is no VGG, which the PyTorch loss is written for")
    numbers = numbers or make_loss_weights(recipe)
    return Setting(
        blocks=[list(widths) for widths in module.blocks],
        padding=module.padding,
        exceptions=dict(module.exceptions),
        pooling=module.pooling,
        preprocessing=asdict(objective.network.preprocessing),
        space=asdict(objective.space),
        content=dict(zip(objective.content_layers, numbers.content.tolist(), strict=True)),
        style=dict(zip(objective.style_layers, numbers.style.tolist(), strict=True)),
        statistic=recipe.style.statistic,
        tv=numbers.tv.item(),
        chroma=numbers.tv_chroma.item(),
    )
