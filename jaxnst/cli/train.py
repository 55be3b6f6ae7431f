"""``jaxnst train``: a network of its own for a style, from a folder of pictures.

Flags first, then files, and only then is JAX imported.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, get_args

from jaxnst._files import check_writable, ending_of, name_of
from jaxnst.cli.errors import UsageError, blaming_flags, explain, guarded
from jaxnst.cli.flags import (
    CHECKPOINT_SECONDS,
    Parser,
    add_machine,
    add_network,
    add_overwrite,
    add_seed,
    add_side,
)
from jaxnst.cli.inputs import tell_of_small_style
from jaxnst.cli.manifest import passed_over
from jaxnst.cli.messages import Messages, hush_xla
from jaxnst.cli.option_types import number, whole, wholes
from jaxnst.cli.outputs import check_beside, refuse_meeting, refuse_stream
from jaxnst.cli.parser import (
    add_options,
    add_recipe,
    chosen_recipe,
    first_parser,
    given_options,
)
from jaxnst.feedforward.settings import GRID_WEIGHT, Optimizer, Training
from jaxnst.image import check_output, check_side, load_image
from jaxnst.image.color import Pixels
from jaxnst.recipes.schema import Option, Recipe, options, replace_all

if TYPE_CHECKING:
    from jaxnst.feedforward.crops import Pictures

ENDING = ".safetensors"

CROPS = (32, 1024)
"""Sides of crops that can be asked for, pixels."""

STYLE_SIZE = 512

SAMPLES_EVERY = 500

HELD_OUT = 4
"""Pictures that the network never sees, for the sample sheet, where there are ten times as many."""

METHOD = ("content", "style", "tv", "pooling", "padding")
"""Parts of a recipe of which training has flags."""

NEEDED = ("grain", "orbax.checkpoint")

ARCHITECTURE: dict[str, Any] = {"widths": (16, 32, 64), "blocks": 5, "upsampling": "resize"}
"""Of the network that is trained, unless flags say otherwise."""


@dataclass(frozen=True)
class Given:
    """What was read of the files that the flags name.

    Attributes:
      style: With its opacity, if anything of it is transparent.
      pictures: To train on.
      samples: For the sample sheet.
    """

    style: Pixels
    pictures: "Pictures"
    samples: tuple[Pixels, ...]


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    first = first_parser(prog)
    recipe = chosen_recipe(first, first.parse_known_args(arguments)[0])
    flags = _parser(prog, recipe).read(arguments)
    messages = Messages(prog, quiet=flags.quiet)
    with messages.warnings_as_notices():
        return guarded(prog, lambda: _train(flags, recipe, messages), debug=flags.debug)


def _train(flags: argparse.Namespace, recipe: Recipe, messages: Messages) -> int:
    with blaming_flags():
        recipe = replace_all(recipe, given_options(_options(recipe), flags))
    outputs = _check_outputs(flags)
    style = load_image(flags.style, alpha=True)
    check_side(style, flags.style)
    tell_of_small_style(flags.style, style, flags.style_size, messages)
    hush_xla(debug=flags.debug)
    pictures, samples = _pictures(flags, outputs, messages)

    from jaxnst.cli.training import train_style

    return train_style(flags, recipe, Given(style, pictures, samples), messages)


def lock_of(folder: str) -> str:
    """Name the lock of a folder of checkpoints: beside it, with or without a slash at its end."""
    return f"{os.path.abspath(folder)}.lock"


def _check_outputs(flags: argparse.Namespace) -> list[tuple[str, str]]:
    """Refuse outputs that cannot be written, or that are inputs; return flags and their paths."""
    try:
        ending_of(flags.output, (ENDING,), usual=ENDING)
        check_writable(flags.output)
    except ValueError as error:
        raise UsageError(f"-o: {error}") from error
    if flags.checkpoint is None:
        flags.checkpoint = os.path.splitext(flags.output)[0] + "-checkpoint"
        flags.checkpoint_kept = False
    else:
        flags.checkpoint_kept = True
        refuse_stream("--checkpoint", flags.checkpoint)
    try:  # the name beside it is longer
        check_writable(lock_of(flags.checkpoint))
    except (OSError, ValueError) as error:
        raise UsageError(f"--checkpoint: {explain(error)}") from error
    flags.sheet = os.path.splitext(flags.output)[0] + "-samples.png" if flags.samples else None
    if flags.sheet:
        check_output(flags.sheet)
    named = [("-o", flags.output), ("--checkpoint", flags.checkpoint)]
    named += [("--samples", flags.sheet)] if flags.sheet else []
    named += check_beside(flags, ("log", "plot"))
    given = [flags.style, *flags.sample, *filter(None, [flags.weights, flags.begin])]
    refuse_meeting(named, given)
    return named


def _pictures(
    flags: argparse.Namespace, outputs: list[tuple[str, str]], messages: Messages
) -> "tuple[Pictures, tuple[Pixels, ...]]":
    """Find what there is to train on, and the pictures of the sample sheet."""
    from jaxnst.feedforward.checkpoints import has_begun
    from jaxnst.feedforward.crops import find_pictures

    if missing := [name for name in NEEDED if not _installed(name)]:
        raise UsageError(f"training needs {' and '.join(missing)}: pip install 'jaxnst[train]'")
    flags.begun = has_begun(flags.checkpoint)
    # Only of a training that has begun are there any of its own; of one before, there is its sheet.
    before = os.path.isfile(flags.output) or os.path.isdir(flags.checkpoint)
    own = [path for flag, path in outputs if flags.begun or (before and flag == "--samples")]
    found = find_pictures(flags.images, side=flags.crop, without=own)
    _refuse_overwriting(found, outputs)
    if found.broken:
        messages.notice(_left_out(found.broken))
    if found.small:
        messages.notice(
            f"left out: {found.small} of {found.small + len(found)} pictures, of which the shorter "
            f"side is less than half of the crops' {flags.crop} pixels"
        )
    if found.others:
        messages.notice(passed_over(found.others))
    if len(found) == 1:
        messages.notice("there is one picture only: the network learns to paint that one")
    # Whatever is on the sheet: how a training is watched changes nothing of what is learned.
    found, held = found.hold_out(min(HELD_OUT, len(found) // 10))
    chosen = flags.sample
    if flags.samples and not chosen:
        of = held if len(held) else found
        chosen = [of.path(i) for i in range(min(HELD_OUT, len(of)))]
    samples = []
    for path in chosen:
        try:
            samples.append(load_image(path))
        except (OSError, ValueError) as error:
            if flags.sample:
                raise
            messages.notice(f"no sample: {explain(error)}")
    return found, tuple(samples)


def _refuse_overwriting(pictures: "Pictures", outputs: list[tuple[str, str]]) -> None:
    there = {os.path.realpath(pictures.path(i)) for i in range(len(pictures))}
    for flag, path in outputs:
        if os.path.realpath(path) in there:
            raise UsageError(
                f"{flag} {name_of(path)} would overwrite a picture to train on: use another name, "
                "or move that picture elsewhere"
            )


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # nor what it is a part of
        return False


def _left_out(broken: tuple[str, ...]) -> str:
    more = f" (and {len(broken) - 1} more like it)" if len(broken) > 1 else ""
    return f"left out: {broken[0]}{more}"


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
    _add_training(parser)
    _add_network_made(parser)
    _add_method(parser, recipe)
    _add_watching(parser)
    add_machine(parser)
    return parser


def _add_training(parser: Parser) -> None:
    group = parser.add_argument_group("training")

    def add(flag: str, default: object, text: str, **more: object) -> None:
        shown = f" (default: {default:g})" if isinstance(default, int | float) else ""
        group.add_argument(flag, default=default, help=text + shown, **more)  # type: ignore[arg-type]

    add("--steps", Training.steps, "batches that it sees", type=whole(1), metavar="N")
    add("--batch", Training.batch, "crops in each", type=whole(1, 4096), metavar="N")
    add(
        "--crop",
        Training.crop,
        "side of the crops; smaller pictures are enlarged, those of less than half are left out",
        type=whole(*CROPS),
        metavar="PIXELS",
    )
    add_side(
        group,
        "--style-size",
        "longest side at which the style is looked at: strokes are as large as they are there",
        default=STYLE_SIZE,
    )
    group.add_argument(
        "--optimizer",
        choices=get_args(Optimizer),
        default=Training.optimizer,
        help="solver (default: %(default)s; muon is Adam for what are no hidden kernels)",
    )
    add("--rate", Training.rate, "largest step scale", type=number, metavar="RATE")
    add("--warmup", Training.warmup, "steps until it is reached", type=whole(0), metavar="N")
    add_seed(group, "decides crops, and parameters at the start")
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
        help=f"between two checkpoints (default: {CHECKPOINT_SECONDS})",
    )


def _add_network_made(parser: Parser) -> None:
    group = parser.add_argument_group("the network that is trained")
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


def _add_method(parser: Parser, recipe: Recipe) -> None:
    group = add_recipe(parser, "loss", recipe, more=": its layers, statistic and weights")
    add_network(group, recipe.network)
    add_options(group, _options(recipe))
    group.add_argument(
        "--grid-weight",
        type=number,
        default=GRID_WEIGHT,
        metavar="X",
        help="of the loss against a grid of dots as far apart as the positions of the network's "
        f"smallest map; 0: none (default: {GRID_WEIGHT:g})",
    )


def _options(recipe: Recipe) -> dict[str, Option]:
    """List the options of a recipe that say what a loss computes."""
    return {flag: option for flag, option in options(recipe).items() if option[0][0] in METHOD}


def _add_watching(parser: Parser) -> None:
    group = parser.add_argument_group("watching")
    group.add_argument(
        "--samples",
        type=whole(0),
        default=SAMPLES_EVERY,
        metavar="N",
        help="paint pictures that it has not seen every N steps, on a sheet beside MODEL; 0: never "
        f"(default: {SAMPLES_EVERY})",
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
