"""A training run before its first step: what is trained, on which devices, by which loss."""

import argparse
import dataclasses
import hashlib
import json
import os

import jax
import jax.numpy as jnp
import numpy as np

from jaxnst._files import digest_of, name_of
from jaxnst._version import __version__
from jaxnst.cli.device import devices_beside, keep_programs, use_device
from jaxnst.cli.errors import UsageError, blaming_flags
from jaxnst.cli.loading import load_for
from jaxnst.cli.messages import Messages
from jaxnst.cli.train import ARCHITECTURE, Given
from jaxnst.feedforward.initial import initial_parameters
from jaxnst.feedforward.models import Model, load_model
from jaxnst.feedforward.perceptual import Frozen, PerceptualLoss, make_loss
from jaxnst.feedforward.settings import Training
from jaxnst.feedforward.training import Trained
from jaxnst.feedforward.transformer import TransformationNetwork
from jaxnst.image.record import parameters_sha256
from jaxnst.networks import LossNetwork
from jaxnst.networks.registry import Params
from jaxnst.optim.sharding import mesh_of
from jaxnst.recipes.schema import Recipe
from jaxnst.transfer.fingerprint import DIGEST, network_words, recipe_words

LAST = 100
"""Steps over which the losses are averaged that the model's file tells."""

GREY = 0.1
"""Factor of the last kernel at the start: He's own leaves the output's tanh where it is flat."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A training run before it begins.

    ``params`` are those of the module before the first step, which took ``steps_before``.
    """

    flags: argparse.Namespace
    given: Given
    recipe: Recipe
    settings: Training
    module: TransformationNetwork
    params: Params
    network: LossNetwork
    devices: list[jax.Device]
    loss: PerceptualLoss
    frozen: Frozen
    steps_before: int

    def words(self) -> dict[str, str]:
        """Say all that decides what is learned, by name."""
        fields = dataclasses.asdict(self.settings).items()
        return {
            **{name: str(value) for name, value in fields},
            "architecture": _architecture(self.module),
            "first parameters": DIGEST + parameters_sha256(self.params),
            "style picture": DIGEST + digest_of({"style": self.given.style}),
            "style size": str(self.flags.style_size),
            "grid weight": str(self.flags.grid_weight),
            "training pictures": DIGEST + self.given.pictures.digest,
            **{f"recipe's {name}": text for name, text in recipe_words(self.recipe).items()},
            **network_words(self.network),
        }

    @property
    def digest(self) -> str:
        """A digest of :meth:`words`, by which a network is known as one of this training."""
        return hashlib.sha256(json.dumps(self.words(), sort_keys=True).encode()).hexdigest()

    def model(self, trained: Trained) -> Model:
        """Make the model, with what is to be known of it."""
        settings, steps = self.settings, trained.step
        last = {name: float(np.mean(of[-LAST:])) for name, of in trained.losses.items()}
        facts = {
            "style": name_of(self.flags.about or os.path.basename(self.flags.style)),
            "style_sha256": digest_of({"style": self.given.style}),
            "style_size": str(min(self.flags.style_size, max(self.given.style.shape[:2]))),
            "recipe": self.recipe.name,
            "loss_network": self.network.name,
            "weights": json.dumps(
                {
                    "content": self.recipe.content.weight,
                    "style": self.recipe.style.weight,
                    "tv": self.recipe.tv.weight,
                    "grid": self.flags.grid_weight,
                }
            ),
            "training": json.dumps(dataclasses.asdict(settings), sort_keys=True),
            "settings": self.digest,
            "steps": str(steps) if steps == settings.steps else f"{steps} of {settings.steps}",
            "pictures": str(len(self.given.pictures)),
            "losses": json.dumps({name: float(f"{value:.4g}") for name, value in last.items()}),
            "jaxnst": __version__,
        }
        if self.flags.begin is not None:
            facts["begun_with"] = name_of(os.path.basename(self.flags.begin))
            facts["steps_before"] = str(self.steps_before)
        module = self.module.clone(precision="float32")
        stem = os.path.splitext(os.path.basename(self.flags.output))[0]
        return Model(name_of(stem), module, jax.tree.map(jnp.asarray, trained.params), facts)


def make_task(flags: argparse.Namespace, recipe: Recipe, given: Given, messages: Messages) -> Task:
    """Choose devices, load the loss network, and make the loss.

    Raises:
      UsageError: A flag asks for what is not there.
    """
    device = use_device(flags.device)
    if not flags.no_cache:
        keep_programs(messages.notice)
    with blaming_flags():
        settings = Training(
            **{f.name: getattr(flags, f.name) for f in dataclasses.fields(Training)}
        )
    module, params, steps = _before(flags)
    layers = [layer for layer, _ in (*recipe.content.layers, *recipe.style.layers)]
    name = flags.network or recipe.network
    why = f": `jaxnst reconstruct layers --network {name}` lists them"
    network = load_for(name, layers, flags, why=why)
    _check_crop(settings.crop, module, network, layers)
    with blaming_flags():
        loss, frozen = make_loss(
            module,
            recipe,
            network,
            given.style,
            style_size=flags.style_size,
            grid=flags.grid_weight,
            period=module.stride,
        )
    devices = list(mesh_of(settings.batch, devices_beside(device, flags.device)).devices.flat)
    return Task(
        flags, given, recipe, settings, module, params, network, devices, loss, frozen, steps
    )


def _before(flags: argparse.Namespace) -> tuple[TransformationNetwork, Params, int]:
    """Return the network that is trained, its parameters before the first step, and their steps.

    Raises:
      UsageError: It cannot be, or flags ask for another than the one to begin with.
    """
    given = {name: getattr(flags, name) for name in ARCHITECTURE}
    chosen = {name: value for name, value in given.items() if value is not None}
    if flags.begin is None:
        with blaming_flags():
            module = TransformationNetwork(**ARCHITECTURE | chosen, precision=flags.precision)
            module.check()
        factors = {"out/kernel": GREY}
        return module, initial_parameters(module.shapes(), seed=flags.seed, factors=factors), 0
    if chosen:
        raise UsageError(
            f"--{next(iter(chosen))} cannot be chosen with --begin: the architecture of "
            f"{name_of(flags.begin)} goes with it"
        )
    model = load_model(flags.begin)
    if model.module.normalization != "instance":
        raise ValueError(
            f"{name_of(flags.begin)} has {model.module.normalization} normalisation, whose "
            "statistics training does not follow: begin with a model of instance normalisation"
        )
    # "4000", or "300 of 4000"
    counts = (model.facts.get(word, "").split(" ")[0] for word in ("steps", "steps_before"))
    steps = sum(int(count) for count in counts if count.isdecimal())
    return model.module.clone(precision=flags.precision), model.params, steps


def _check_crop(
    crop: int, module: TransformationNetwork, network: LossNetwork, layers: list[str]
) -> None:
    if crop < module.least:
        raise UsageError(f"--crop is {crop}, but such --widths need at least {module.least} pixels")
    for layer in layers:
        if crop < (least := network.table[network.resolve(layer)].least):
            raise UsageError(f"--crop is {crop}, but {layer} needs at least {least} pixels")


def _architecture(module: TransformationNetwork) -> str:
    fields = [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
    return ", ".join(f"{name} {getattr(module, name)}" for name in fields)
