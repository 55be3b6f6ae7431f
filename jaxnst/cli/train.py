"""``jaxnst train``: train a network for one style, from a folder of pictures.

This module reads the flags, then the files; JAX is imported after that, with the work itself.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from jaxnst._files import check_writable, ending_of, name_of
from jaxnst.cli.errors import UsageError, blaming_flags, explain, guarded
from jaxnst.cli.flags import (
    CHECKPOINT_SECONDS,
    LoadFlags,
    MachineFlags,
    NetworkFlags,
    Parser,
    add_fields,
    add_flags,
    flag,
    read_fields,
)
from jaxnst.cli.inputs import report_small_style
from jaxnst.cli.manifest import skipped_files
from jaxnst.cli.messages import Messages, quiet_xla
from jaxnst.cli.option_types import SIZES, integer, integers
from jaxnst.cli.outputs import refuse_meeting, refuse_stream
from jaxnst.cli.parser import (
    add_options,
    add_recipe,
    chosen_recipe,
    default_output,
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

HELD_OUT = 4
"""Most pictures that are held out for the sample sheet, of ten times as many."""

METHOD = ("content", "style", "tv", "pooling", "padding")
"""Parts of a recipe that training has flags for."""

TRAINING_OPTIONS: dict[str, Option] = {
    f.metadata["flag"]: ((f.name,), f, f.default) for f in fields(Training)
}
"""Options of training by flag."""


@dataclass(frozen=True, kw_only=True)
class TrainFlags(LoadFlags):
    """All flags of ``jaxnst train``.

    Attributes:
      recipe: The loss, with the changes made by flags.
      training: Set by ``--steps``, ``--rate`` and other flags.
      keep_checkpoint: Whether ``--checkpoint`` was given; otherwise the folder is deleted at the
        end.
    """

    recipe: Recipe
    training: Training
    keep_checkpoint: bool
    style: str = flag("STYLE", "picture whose style is learned", ...)
    images: str = flag(
        "--images DIR",
        "folder of photographs to train on, searched with its subfolders; a few hundred are "
        "enough, more are better",
        ...,
    )
    output: str = flag(
        "-o --output MODEL",
        f"file to save the network to, {ENDING} (default: STYLE{ENDING} in the current folder)",
        "",
    )
    overwrite: bool = flag(
        "--overwrite",
        "replace a network or checkpoint that was made with other inputs or settings",
        False,
    )
    about: str | None = flag(
        "--about TEXT",
        "description of the style, stored in the network: picture, painter, year (default: the "
        "name of its file)",
    )
    style_size: int = flag(
        "--style-size PIXELS",
        "longest side to which the style is scaled; it sets the size of the strokes",
        512,
        read=integer(*SIZES),
    )
    workers: int | None = flag(
        "--workers N",
        "number of processes that decode pictures; 0: threads of this process (default: 0 on a "
        "CPU, else up to 4)",
        read=integer(0, 256),
    )
    checkpoint: str = flag(
        "--checkpoint DIR",
        "folder for the state of the training; if it holds one, training resumes from it "
        "(default: MODEL-checkpoint, deleted at the end)",
    )
    checkpoint_every: int = flag(
        "--checkpoint-every SECONDS",
        "save the state every so many seconds",
        CHECKPOINT_SECONDS,
        read=integer(0, 86400),
    )
    begin: str | None = flag(
        "--begin MODEL",
        "network to start from, a file or the name of a bundled one; it saves steps, and its "
        "architecture is kept",
    )
    widths: tuple[int, ...] | None = flag(
        "--widths A,B,...",
        "channels of the first convolution and of each one that halves the picture (default: "
        "16,32,64; Johnson et al. use 32,64,128)",
        read=integers(1, 4096),
    )
    blocks: int | None = flag(
        "--blocks N", "number of residual blocks (default: 5)", read=integer(0, 100)
    )
    upsampling: Literal["resize", "transposed"] | None = flag(
        "--upsampling", "how feature maps are enlarged (default: resize)"
    )
    grid_weight: float = flag(
        "--grid-weight X",
        "weight of the loss against a grid of dots at the spacing of the network's smallest "
        "feature map; 0: none",
        GRID_WEIGHT,
    )
    samples: int = flag(
        "--samples N",
        "every N steps, paint held-out pictures on a sheet beside MODEL; 0: never",
        500,
        read=integer(0),
    )
    sample: list[str] = flag(
        "--sample PICTURE",
        "picture for that sheet, may be repeated (default: some of DIR, which are held out)",
        [],
    )
    log: str | None = flag("--log FILE", "write the losses to this file, one JSON object per step")
    plot: str | None = flag(
        "--plot FILE", "plot the losses at the end: .png, .svg or .pdf; needs jaxnst[watch]"
    )

    @property
    def architecture(self) -> dict[str, Any]:
        """The fields of the network that flags set."""
        values = {name: getattr(self, name) for name in ("widths", "blocks", "upsampling")}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def sheet(self) -> str | None:
        """Path of the sheet of samples, if there is to be one."""
        return os.path.splitext(self.output)[0] + "-samples.png" if self.samples else None

    @property
    def lock(self) -> str:
        """Path of the lock, beside the folder of checkpoints."""
        return f"{os.path.abspath(self.checkpoint)}.lock"


@dataclass(frozen=True)
class Inputs:
    """The contents of the files that the flags name; ``samples`` are for the sample sheet.

    The style has a fourth channel if parts of it are transparent. ``has_begun`` says whether there
    are checkpoints to resume from.
    """

    style: Pixels
    pictures: "Pictures"
    samples: tuple[Pixels, ...]
    has_begun: bool


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    first = first_parser(prog)
    recipe = chosen_recipe(first, first.parse_known_args(arguments)[0])
    parsed = _parser(prog, recipe).read(arguments)
    messages = Messages(prog, quiet=parsed.quiet, json=parsed.json)
    quiet_xla(debug=parsed.debug)
    with messages.warnings_as_notices():
        return guarded(prog, lambda: _train(_flags(parsed, recipe), messages), debug=parsed.debug)


def _train(flags: TrainFlags, messages: Messages) -> int:
    outputs = _check_outputs(flags)
    style = load_image(flags.style, alpha=True)
    check_side(style, flags.style)
    report_small_style(flags.style, style, flags.style_size, messages)
    if find_spec("grain") is None:
        raise UsageError("training needs grain: pip install 'jaxnst[train]'")
    inputs = _read_inputs(flags, outputs, style, messages)

    from jaxnst.cli.training import train_style

    return train_style(flags, inputs, messages)


def _flags(parsed: argparse.Namespace, recipe: Recipe) -> TrainFlags:
    """Make the flags of what was parsed."""
    with blaming_flags():
        parsed.recipe = replace_all(recipe, given_options(_loss_options(recipe), parsed))
        changes = given_options(TRAINING_OPTIONS, parsed)
        parsed.training = Training(**{name: value for (name,), value in changes.items()})
    parsed.output = parsed.output or default_output([parsed.style], ENDING)
    parsed.keep_checkpoint = parsed.checkpoint is not None
    if parsed.checkpoint is None:
        parsed.checkpoint = os.path.splitext(parsed.output)[0] + "-checkpoint"
    flags = read_fields(TrainFlags, parsed)
    if flags.begin is not None and (names := [*flags.architecture]):
        raise UsageError(
            f"--{names[0]} cannot be combined with --begin, which keeps the architecture of "
            f"{name_of(flags.begin)}: leave one of them out"
        )
    return flags


def _check_outputs(flags: TrainFlags) -> list[tuple[str, str]]:
    """Refuse outputs that cannot be written, or that are inputs; return their flags and paths."""
    try:
        ending_of(flags.output, (ENDING,), usual=ENDING)
        check_writable(flags.output)
    except ValueError as error:
        raise UsageError(f"-o: {error}") from error
    refuse_stream("--checkpoint", flags.checkpoint)
    try:
        check_writable(flags.lock)  # its name is longer than that of the folder
    except (OSError, ValueError) as error:
        raise UsageError(f"--checkpoint: {explain(error)}") from error
    outputs = [("-o", flags.output), ("--checkpoint", flags.checkpoint)]
    for name, path, check in (
        ("--samples", flags.sheet, check_output),
        ("--log", flags.log, check_writable),
        ("--plot", flags.plot, check_plot),
    ):
        if path:
            refuse_stream(name, path)
            outputs.append((name, path))
            try:
                check(path)
            except ModuleNotFoundError as error:
                raise UsageError(f"{name}: {error}") from error
    read = [flags.style, *flags.sample, flags.weights, flags.begin]
    refuse_meeting(outputs, [path for path in read if path])
    return outputs


def _read_inputs(
    flags: TrainFlags, outputs: list[tuple[str, str]], style: Pixels, messages: Messages
) -> Inputs:
    """List the training pictures, and read those of the sample sheet."""
    from jaxnst.feedforward.checkpoints import has_begun
    from jaxnst.feedforward.crops import find_pictures

    begun = has_begun(flags.checkpoint)
    # What this training run has written is not a training picture. Without a checkpoint, that can
    # only be the sheet.
    ended = os.path.isfile(flags.output) or os.path.isdir(flags.checkpoint)
    written = [path for name, path in outputs if begun or (ended and name == "--samples")]
    pictures = find_pictures(flags.images, side=flags.training.crop, without=written)
    real_paths = {os.path.realpath(pictures.path(i)) for i in range(len(pictures))}
    for name, path in outputs:
        if os.path.realpath(path) in real_paths:
            raise UsageError(
                f"{name} {name_of(path)} would overwrite a training picture: use another name, or "
                "move that picture"
            )
    for text in pictures.left_out(flags.training.crop):
        messages.notice(text)
    if pictures.others:
        messages.notice(skipped_files(pictures.others))
    if len(pictures) == 1:
        messages.notice("there is only one picture: the network will only learn to paint that one")
    # Held out whatever the sheet shows: watching a run does not change its result.
    pictures, held_out = pictures.hold_out(min(HELD_OUT, len(pictures) // 10))
    paths = list(flags.sample)
    if flags.samples and not paths:
        source = held_out if len(held_out) else pictures
        paths = [source.path(i) for i in range(min(HELD_OUT, len(source)))]
    samples = []
    for path in paths:
        try:
            samples.append(load_image(path))
        except (OSError, ValueError) as error:
            if flags.sample:
                raise
            messages.notice(f"no sample: {explain(error)}")
    return Inputs(style, pictures, tuple(samples), begun)


def _loss_options(recipe: Recipe) -> dict[str, Option]:
    """List the options of a recipe that define the loss."""
    known = recipe_options(recipe)
    return {name: option for name, option in known.items() if option[0][0] in METHOD}


def _parser(prog: str, recipe: Recipe) -> Parser:
    parser = Parser(
        prog=prog,
        usage=f"{prog} STYLE --images DIR [-o MODEL{ENDING}] [flags]",
        description="Train a network that paints any picture in the manner of one, in one pass.",
        epilog="Exit status: 0 done; 1 a file or something else failed; 2 wrong flags; 130 stopped "
        "by Ctrl-C, with the network so far saved. The same command resumes the training.",
    )
    add_fields(parser, TrainFlags, ["style", "images", "output", "overwrite", "about"])
    group = parser.add_argument_group("training")
    add_options(group, TRAINING_OPTIONS)
    names = ["style_size", "workers", "checkpoint", "checkpoint_every"]
    add_fields(group, TrainFlags, names)
    group = parser.add_argument_group("trained network")
    add_fields(group, TrainFlags, ["begin", "widths", "blocks", "upsampling"])
    group = add_recipe(parser, "loss", recipe, more=" that gives layers, statistic and weights")
    add_fields(group, NetworkFlags, help={"network": f"loss network (default: {recipe.network})"})
    add_options(group, _loss_options(recipe))
    add_fields(group, TrainFlags, ["grid_weight"])
    group = parser.add_argument_group("progress and further files")
    add_fields(group, TrainFlags, ["samples", "sample", "log", "plot"])
    add_flags(parser, MachineFlags)
    return parser
