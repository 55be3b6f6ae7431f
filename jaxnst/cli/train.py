"""``jaxnst train``: train a network for one style, from a folder of pictures.

This module reads the flags, then the files; JAX is imported after that, with the work itself.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from jaxnst._files import check_writable, ending_of, name_of
from jaxnst.cli.errors import UsageError, blaming_flags, explain, guarded
from jaxnst.cli.flags import (
    CHECKPOINT_SECONDS,
    NetworkOptions,
    Parser,
    add_machine,
    add_network,
    add_overwrite,
    add_side,
)
from jaxnst.cli.inputs import tell_of_small_style
from jaxnst.cli.manifest import passed_over
from jaxnst.cli.messages import Messages, hush_xla
from jaxnst.cli.option_types import number, whole, wholes
from jaxnst.cli.outputs import refuse_meeting, refuse_stream
from jaxnst.cli.parser import (
    add_options,
    add_recipe,
    chosen_recipe,
    first_parser,
    given_options,
)
from jaxnst.feedforward.settings import GRID_WEIGHT, Training
from jaxnst.image import check_output, check_side, load_image
from jaxnst.image.color import Pixels
from jaxnst.recipes.schema import Option, Recipe, replace_all
from jaxnst.recipes.schema import options as recipe_options
from jaxnst.report.plot import check_plot

if TYPE_CHECKING:
    from jaxnst.feedforward.crops import Pictures

ENDING = ".safetensors"

STYLE_SIZE = 512

SAMPLES_EVERY = 500

HELD_OUT = 4
"""Pictures that are held out for the sample sheet, where there are ten times as many."""

METHOD = ("content", "style", "tv", "pooling", "padding")
"""Parts of a recipe of which training has flags."""

NEEDED = ("grain", "orbax.checkpoint")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(NetworkOptions):
    """The options of ``jaxnst train``, each named after its flag.

    Attributes:
      training: What ``--steps``, ``--rate`` and other flags set.
      keep_checkpoint: Whether ``--checkpoint`` names the folder, which is deleted at the end
        otherwise.
      recipe: The loss, with the changes that flags make.
    """

    style: str
    images: str
    output: str
    overwrite: bool
    about: str | None
    training: Training
    style_size: int
    workers: int | None
    checkpoint: str
    keep_checkpoint: bool
    checkpoint_every: int
    begin: str | None = None
    widths: tuple[int, ...] = (16, 32, 64)
    blocks: int = 5
    upsampling: Literal["resize", "transposed"] = "resize"
    recipe: Recipe
    network: str
    grid_weight: float
    samples: int
    sample: tuple[str, ...]
    log: str | None
    plot: str | None
    device: tuple[str, int | None] | None
    no_cache: bool

    @property
    def sheet(self) -> str | None:
        """Path of the sheet of samples, if there is to be one."""
        return os.path.splitext(self.output)[0] + "-samples.png" if self.samples else None

    @property
    def lock(self) -> str:
        """Path of the lock: beside the folder of checkpoints, even if that ends with a slash."""
        return f"{os.path.abspath(self.checkpoint)}.lock"


@dataclass(frozen=True)
class Inputs:
    """The contents of the files that the options name.

    Attributes:
      style: With its opacity, if anything of it is transparent.
      pictures: To train on.
      samples: For the sample sheet.
      has_begun: Whether there are checkpoints to resume from.
    """

    style: Pixels
    pictures: "Pictures"
    samples: tuple[Pixels, ...]
    has_begun: bool


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    first = first_parser(prog)
    recipe = chosen_recipe(first, first.parse_known_args(arguments)[0])
    flags = _parser(prog, recipe).read(arguments)
    messages = Messages(prog, quiet=flags.quiet)
    hush_xla(debug=flags.debug)
    with messages.warnings_as_notices():
        return guarded(prog, lambda: _train(_options(flags, recipe), messages), debug=flags.debug)


def _train(options: TrainOptions, messages: Messages) -> int:
    outputs = _check_outputs(options)
    style = load_image(options.style, alpha=True)
    check_side(style, options.style)
    tell_of_small_style(options.style, style, options.style_size, messages)
    inputs = _find_inputs(options, outputs, style, messages)

    from jaxnst.cli.training import train_style

    return train_style(options, inputs, messages)


def _options(flags: argparse.Namespace, recipe: Recipe) -> TrainOptions:
    """Turn the flags into options.

    Raises:
      UsageError: A value is out of range, or two flags do not go together.
    """
    values = dict(vars(flags))
    for name in ("widths", "blocks", "upsampling"):
        if "begin" in values and name in values:
            raise UsageError(
                f"--{name} cannot be chosen with --begin: the architecture of "
                f"{name_of(flags.begin)} goes with it"
            )
    with blaming_flags():
        values["recipe"] = replace_all(recipe, given_options(_loss_options(recipe), flags))
        changes = given_options(_training_options(), flags)
        values["training"] = Training(**{name: value for (name,), value in changes.items()})
    values["network"] = flags.network or recipe.network
    values["sample"] = tuple(flags.sample)
    values["keep_checkpoint"] = flags.checkpoint is not None
    if flags.checkpoint is None:
        values["checkpoint"] = os.path.splitext(flags.output)[0] + "-checkpoint"
    names = {field.name for field in fields(TrainOptions)}
    return TrainOptions(**{name: value for name, value in values.items() if name in names})


def _check_outputs(options: TrainOptions) -> list[tuple[str, str]]:
    """Refuse outputs that cannot be written, or that are inputs; return their flags and paths."""
    try:
        ending_of(options.output, (ENDING,), usual=ENDING)
        check_writable(options.output)
    except ValueError as error:
        raise UsageError(f"-o: {error}") from error
    refuse_stream("--checkpoint", options.checkpoint)
    try:
        check_writable(options.lock)  # its name is longer than that of the folder
    except (OSError, ValueError) as error:
        raise UsageError(f"--checkpoint: {explain(error)}") from error
    outputs = [("-o", options.output), ("--checkpoint", options.checkpoint)]
    for flag, path, check in (
        ("--samples", options.sheet, check_output),
        ("--log", options.log, check_writable),
        ("--plot", options.plot, check_plot),
    ):
        if path:
            refuse_stream(flag, path)
            outputs.append((flag, path))
            try:
                check(path)
            except ModuleNotFoundError as error:
                raise UsageError(f"{flag}: {error}") from error
    read = [options.style, *options.sample, options.weights, options.begin]
    refuse_meeting(outputs, [path for path in read if path])
    return outputs


def _find_inputs(
    options: TrainOptions, outputs: list[tuple[str, str]], style: Pixels, messages: Messages
) -> Inputs:
    """Find the pictures to train on, and read those of the sample sheet."""
    from jaxnst.feedforward.checkpoints import has_begun
    from jaxnst.feedforward.crops import find_pictures

    if missing := [name for name in NEEDED if not _is_installed(name)]:
        raise UsageError(f"training needs {' and '.join(missing)}: pip install 'jaxnst[train]'")
    begun = has_begun(options.checkpoint)
    # What this training has written is no picture to train on. If no checkpoint is left, that can
    # only be the sheet.
    ended = os.path.isfile(options.output) or os.path.isdir(options.checkpoint)
    own = [path for flag, path in outputs if begun or (ended and flag == "--samples")]
    pictures = find_pictures(options.images, side=options.training.crop, without=own)
    paths = [pictures.path(i) for i in range(len(pictures))]
    real_paths = {os.path.realpath(path) for path in paths}
    for flag, path in outputs:
        if os.path.realpath(path) in real_paths:
            raise UsageError(
                f"{flag} {name_of(path)} would overwrite a picture to train on: use another name, "
                "or move that picture elsewhere"
            )
    if broken := pictures.broken:
        more = f" (and {len(broken) - 1} more like it)" if len(broken) > 1 else ""
        messages.notice(f"left out: {broken[0]}{more}")
    if pictures.small:
        messages.notice(
            f"left out: {pictures.small} of {pictures.small + len(pictures)} pictures, of which "
            f"the shorter side is less than half of the crops' {options.training.crop} pixels"
        )
    if pictures.others:
        messages.notice(passed_over(pictures.others))
    if len(pictures) == 1:
        messages.notice("there is one picture only: the network learns to paint that one")
    # Held out whatever is on the sheet: how a training is watched does not change the result.
    pictures, held_out = pictures.hold_out(min(HELD_OUT, len(pictures) // 10))
    chosen = list(options.sample)
    if options.samples and not chosen:
        source = held_out if len(held_out) else pictures
        chosen = [source.path(i) for i in range(min(HELD_OUT, len(source)))]
    samples = []
    for path in chosen:
        try:
            samples.append(load_image(path))
        except (OSError, ValueError) as error:
            if options.sample:
                raise
            messages.notice(f"no sample: {explain(error)}")
    return Inputs(style, pictures, tuple(samples), begun)


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # nor is the package that it is a part of
        return False


def _training_options() -> dict[str, Option]:
    """List the options of training by flag."""
    return {f.metadata["flag"]: ((f.name,), f, f.default) for f in fields(Training)}


def _loss_options(recipe: Recipe) -> dict[str, Option]:
    """List the options of a recipe that define the loss."""
    return {
        flag: option for flag, option in recipe_options(recipe).items() if option[0][0] in METHOD
    }


def _parser(prog: str, recipe: Recipe) -> Parser:
    parser = Parser(
        prog=prog,
        usage=f"{prog} STYLE --images DIR -o MODEL{ENDING} [flags]",
        description="Train a network that paints any picture in the manner of one, in one pass.",
        epilog="Exit status: 0 done, 1 a file or something else failed, 2 wrong flags, 130 stopped "
        "by Ctrl-C: the network so far is saved, and the same command goes on.",
        allow_abbrev=False,
    )
    parser.add_argument("style", metavar="STYLE", help="picture to learn the manner of")
    parser.add_argument(
        "--images",
        metavar="DIR",
        required=True,
        help="folder of photographs to learn from, and folders in it; some hundred are enough, "
        "more are better",
    )
    parser.add_argument(
        "-o", "--output", metavar="MODEL", required=True, help=f"the network, a {ENDING} file"
    )
    add_overwrite(parser, "a network or a checkpoint")
    parser.add_argument(
        "--about",
        metavar="TEXT",
        help="what the style is, for whoever gets the network: picture, painter, year (default: "
        "the name of its file)",
    )

    group = parser.add_argument_group("training")
    add_options(group, _training_options())
    add_side(
        group,
        "--style-size",
        "longest side at which the style is looked at: strokes are as large as they are there",
        default=STYLE_SIZE,
    )
    group.add_argument(
        "--workers",
        type=whole(0, 256),
        metavar="N",
        help="processes that decode pictures; 0: threads of this one (default: 0 on a CPU, else "
        "up to 4)",
    )
    group.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="folder for where the training stands; if it has begun there, it goes on (default: "
        "MODEL-checkpoint, deleted at the end)",
    )
    group.add_argument(
        "--checkpoint-every",
        type=whole(0, 86400),
        default=CHECKPOINT_SECONDS,
        metavar="SECONDS",
        help="between two checkpoints (default: %(default)s)",
    )

    group = parser.add_argument_group(
        "the network that is trained", argument_default=argparse.SUPPRESS
    )
    group.add_argument(
        "--begin",
        metavar="MODEL",
        help="network to begin with, a file or the name of one that ships: what it learned of "
        "another style, or of this one, saves steps; its architecture goes with it",
    )
    group.add_argument(
        "--widths",
        type=wholes(1, 4096),
        metavar="A,B,...",
        help="channels of its first convolution and of each that halves the picture (default: "
        "16,32,64; Johnson et al. have 32,64,128)",
    )
    group.add_argument(
        "--blocks",
        type=whole(0, 100),
        metavar="N",
        help="residual blocks (default: 5)",
    )
    group.add_argument(
        "--upsampling",
        choices=("resize", "transposed"),
        help="how it doubles its maps (default: resize)",
    )

    group = add_recipe(parser, "loss", recipe, more=": its layers, statistic and weights")
    add_network(group, recipe.network)
    add_options(group, _loss_options(recipe))
    group.add_argument(
        "--grid-weight",
        type=number,
        default=GRID_WEIGHT,
        metavar="X",
        help="of the loss against a grid of dots as far apart as the positions of the network's "
        "smallest map; 0: none (default: %(default)g)",
    )

    group = parser.add_argument_group("watching")
    group.add_argument(
        "--samples",
        type=whole(0),
        default=SAMPLES_EVERY,
        metavar="N",
        help="paint pictures that it has not seen every N steps, on a sheet beside MODEL; 0: never "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--sample",
        metavar="PICTURE",
        action="append",
        default=[],
        help="a picture of that sheet, may be repeated (default: some of DIR, which are held out)",
    )
    group.add_argument("--log", metavar="FILE", help="write losses as JSON, a line a step")
    group.add_argument(
        "--plot",
        metavar="FILE",
        help="draw the losses at the end: .png, .svg or .pdf; needs jaxnst[watch]",
    )
    add_machine(parser)
    return parser
