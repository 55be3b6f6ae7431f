"""What the commands' flags have in common: the parser, and groups of flags."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, get_args

from jaxnst._version import __version__
from jaxnst.cli.errors import USAGE, UsageError, complain
from jaxnst.cli.fetching import shown
from jaxnst.cli.messages import Messages
from jaxnst.cli.option_types import SIZES, device, memory, mixture, whole
from jaxnst.image import ENDINGS
from jaxnst.recipes.schema import RANDOM_STARTS, Precision, Recipe

SIZE = 512
"""Longest side where neither the person nor the recipe says one."""

SEEDS = (0, 2**32 - 1)

DPI = (1, 30_000)

MOST_STYLES = 3
"""More of them are mixed only where a flag says how."""

CHECKPOINT_SECONDS = 60
"""Between two checkpoints, unless the person says how many."""

PREPROCESSINGS = ("caffe", "torchvision", "matconvnet")
"""What parameters of a file that does not tell may have been trained with."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The options of :func:`add_network` but its name, and ``--precision``."""

    weights: str | None
    preprocessing: str | None
    yes: bool
    precision: Precision


class Parser(argparse.ArgumentParser):
    """A parser that complains in one line, and names the nearest flag to an unknown one.

    Attributes:
      where: Where the arguments stand, if not on the command line.
    """

    where = ""

    def error(self, message: str) -> NoReturn:
        """Complain and exit."""
        text = f"{self.where}: " * bool(self.where) + message.removeprefix("argument ")
        sys.exit(complain(self.prog, f"{text} ({self.prog} --help lists all flags)", USAGE))

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Read all arguments; flags may stand between several pictures.

        Raises:
          SystemExit: With status 2 and a line on stderr if one cannot be used or is unknown.
        """
        several = any(action.nargs == "+" for action in self._get_positional_actions())
        read = self.parse_known_intermixed_args if several else self.parse_known_args
        flags, unknown = read(arguments)
        if unknown:
            self._refuse(unknown)
        return flags

    def _refuse(self, unknown: list[str]) -> NoReturn:
        """Complain of arguments that nobody asked for."""
        flag = next((text for text in unknown if text.startswith("-")), unknown[0])
        known = [name for action in self._actions for name in action.option_strings]
        near = difflib.get_close_matches(flag.split("=")[0], known, 1)
        hint = f": did you mean {near[0]}?" if near else ""
        self.error(f"unknown flag {flag}{hint}")


def add_side(
    group: argparse._ActionsContainer, flag: str, text: str, *, default: int | None = None
) -> None:
    """Add a flag for the longest side of a picture."""
    shown = "" if default is None else f" (default: {default})"
    group.add_argument(
        flag, type=whole(*SIZES), default=default, metavar="PIXELS", help=text + shown
    )


def add_seed(group: argparse._ActionsContainer, text: str) -> None:
    """Add the flag for what random numbers begin with."""
    group.add_argument(
        "--seed", type=whole(*SEEDS), default=0, metavar="N", help=f"{text} (default: 0)"
    )


def add_styles(group: argparse._ActionsContainer) -> None:
    """Add the flags that say which style goes where, and how much of each."""
    group.add_argument(
        "--style-mix",
        type=mixture,
        action="append",
        metavar="[LAYER:]WEIGHTS",
        help="how much of each style, 0.7,0.3; at one layer relu1_1:0,1; may be repeated (default: "
        "equal parts)",
    )
    group.add_argument(
        "--mask",
        action="append",
        default=[],
        metavar="FILE",
        help="where in the content there is style, white on black; repeated, a region for each "
        "style",
    )
    group.add_argument(
        "--style-mask",
        action="append",
        default=[],
        metavar="FILE",
        help="which part of a style counts; repeated, one for each style, or several of one",
    )


def add_local(group: argparse._ActionsContainer) -> None:
    """Add the flag that allows addresses that are not public."""
    group.add_argument(
        "--allow-local",
        action="store_true",
        help="take pictures from addresses of this machine and of networks that are not public",
    )


def add_ending(group: argparse._ActionsContainer) -> None:
    """Add the flag for the format of results in a folder."""
    group.add_argument(
        "--ending",
        choices=ENDINGS,
        default=".png",
        help="of the names of pictures in the folder of results (default: .png)",
    )


def add_overwrite(group: argparse._ActionsContainer, what: str = "results") -> None:
    """Add the flag that lets a command replace what another one has made."""
    group.add_argument(
        "--overwrite",
        action="store_true",
        help=f"replace {what} of other inputs or settings, which is refused otherwise",
    )


def add_network(group: argparse._ActionsContainer, default: str) -> None:
    """Add the flags that say which network is to be loaded from where."""
    group.add_argument(
        "--network", metavar="NAME", help=f"loss network (default: {default})".replace("%", "%%")
    )
    group.add_argument(
        "--weights",
        metavar="FILE",
        help="the network's parameters: safetensors, Keras HDF5, NumPy .npz, MatConvNet's .mat, "
        "or PyTorch's .pth",
    )
    group.add_argument(
        "--preprocessing",
        choices=PREPROCESSINGS,
        help="what they were trained with, where the file does not tell",
    )
    group.add_argument(
        "--yes", action="store_true", help="download the network's official parameters unasked"
    )


def add_machine(parser: Parser, *, painting: bool = False, single: bool = True) -> None:
    """Add the flags that say what is computed on, and how much is said of it.

    Args:
      parser: Of the command.
      painting: Whether it paints.
      single: Whether it paints one picture; else what is for one alone is not shown.
    """
    group = parser.add_argument_group("machine and messages")
    group.add_argument(
        "--device",
        type=device,
        metavar="KIND[:N]",
        help="cpu, gpu or tpu; gpu:1 is the second one (default: the fastest there is)"
        if single
        else "cpu, gpu or tpu, of which all are used; gpu:1 is the second one alone "
        "(default: the fastest kind there is)",
    )
    group.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help="of the network: tf32 is faster on NVIDIA's GPUs, bfloat16 takes half their "
        "memory as well; both change the picture slightly (default: float32)",
    )
    if painting:
        group.add_argument(
            "--max-memory",
            type=memory,
            metavar="AMOUNT",
            help="most memory that may be taken, 8GB or 500MiB: spends time in place of it, or "
            "reduces the size (default: what is available, without reducing the size)",
        )
        group.add_argument(
            "--dry-run",
            action="store_true",
            help="say sizes, evaluations, memory and time, and paint nothing"
            if single
            else argparse.SUPPRESS,
        )
        group.add_argument(
            "--deterministic",
            action="store_true",
            help="make a GPU paint byte-identical pictures for the same command, which is slower; "
            "a CPU does so anyway, on the same machine with the same number of threads",
        )
        group.add_argument(
            "--timings",
            action="store_true",
            help="say at the end, on stderr, how long each scale waited for its programs and ran"
            if single
            else argparse.SUPPRESS,
        )
    group.add_argument(
        "--no-cache", action="store_true", help="neither use nor keep compiled programs on disk"
    )
    group.add_argument("--quiet", action="store_true", help="print only errors and the result")
    group.add_argument("--debug", action="store_true", help="show where an error comes from")
    group.add_argument("--version", action="version", version=f"jaxnst {__version__}")


SINGLE = (
    *("dry_run", "save_every", "timings", "log", "plot", "animate", "animate_every"),
    *("side_by_side", "format", "checkpoint", "checkpoint_every"),
)
"""Where flags are kept that are for runs that paint one picture."""


def refuse_single(flags: argparse.Namespace) -> None:
    """Refuse flags that are for runs that paint one picture.

    Raises:
      UsageError: One is given.
    """
    for name in SINGLE:
        if getattr(flags, name):
            raise UsageError(f"--{name.replace('_', '-')} is for single runs: jaxnst run")


def add_watching(parser: Parser, *, single: bool) -> None:
    """Add the flags that say what is written of a run beside its picture.

    Args:
      parser: Of the command.
      single: Whether it paints one picture; else they are not shown.
    """
    group = parser.add_argument_group("watching" if single else None)

    def add(flag: str, text: str, **more: Any) -> None:
        group.add_argument(flag, help=text if single else argparse.SUPPRESS, **more)

    add(
        "--save-every",
        "also save the picture every N evaluations, as OUT with their number",
        type=whole(1),
        metavar="N",
    )
    add("--log", "write evaluations, losses and seconds as JSON, a line a report", metavar="FILE")
    add(
        "--plot",
        "draw the losses over evaluations: .png, .svg or .pdf; needs jaxnst[watch]",
        metavar="FILE",
    )
    add(
        "--animate",
        "show how the picture came about: .gif, .webp, or .mp4, which needs jaxnst[watch]",
        metavar="FILE",
    )
    add(
        "--animate-every",
        "evaluations between two of its frames (default: such that there are at most 100)",
        type=whole(1),
        metavar="N",
    )
    add("--side-by-side", "content, styles and result as one labelled picture", metavar="FILE")
    add(
        "--checkpoint",
        "keep where the run stands; if FILE is there, the run goes on from it",
        metavar="FILE",
    )
    add(
        "--checkpoint-every",
        f"between two checkpoints (default: {CHECKPOINT_SECONDS})",
        type=whole(0, 86400),
        metavar="SECONDS",
    )
    if single:
        add_overwrite(group, "a checkpoint")


def add_saving(parser: Parser, *, single: bool = True) -> None:
    """Add the flags that say what the result's file holds, and is made after.

    Args:
      parser: Of the command.
      single: Whether it paints one picture; else what is for one alone is left out.
    """
    group = parser.add_argument_group("file")
    group.add_argument(
        "--bits",
        type=whole(),
        choices=(8, 16),
        default=8,
        help="of each colour: 16 for PNG and TIFF, with jaxnst[print] (default: 8)",
    )
    group.add_argument(
        "--dpi", type=whole(*DPI), metavar="N", help="pixels per inch that the file says"
    )
    group.add_argument(
        "--quality", type=whole(1, 100), metavar="N", help="of JPEG and WebP (default: 95)"
    )
    if single:
        group.add_argument(
            "--no-metadata", action="store_true", help="leave out of the file how it was made"
        )
        group.add_argument(
            "--from",
            dest="origin",
            metavar="PICTURE",
            help="paint as this picture of jaxnst-run was painted, but for the flags given",
        )
        group.add_argument(
            "--other-inputs",
            action="store_true",
            help="with --from: paint other pictures than those that it was made of",
        )


BATCH = "jaxnst batch --contents FOLDER --styles FOLDER --out FOLDER"
"""What paints several photographs."""


def check_styles(flags: argparse.Namespace) -> None:
    """Refuse styles that are most likely photographs, and two mixtures for the same layers.

    ``photos/*.jpg painting.jpg`` makes the first photograph the content and all others styles.

    Raises:
      UsageError: There are such.
    """
    layers = [layer for layer, _ in flags.style_mix or ()]
    if len(set(layers)) < len(layers):
        raise UsageError("--style-mix is given twice for the same layers: say each once")
    count = len(flags.styles)
    if count > MOST_STYLES and not _roles_are_said(flags):
        first, *_, last = map(shown, flags.styles)
        raise UsageError(
            f"{shown(flags.content)} is the content, and {first} to {last} are {count} styles of "
            f"it: to paint several photographs use {BATCH}; to mix that many styles give "
            f"--style-mix {','.join('1' * count)}"
        )


def tell_of_styles(flags: argparse.Namespace, messages: Messages) -> None:
    """Give notice of which picture is the content where there are several styles."""
    if len(flags.styles) > 1 and not _roles_are_said(flags):
        messages.notice(
            f"{shown(flags.content)} is painted in the manner of all the others together, "
            f"{', '.join(map(shown, flags.styles))}; to paint several photographs use {BATCH}"
        )


def _roles_are_said(flags: argparse.Namespace) -> bool:
    """Tell whether other flags, or the record of a picture, say what each style is for."""
    repeats = getattr(flags, "record", None) is not None and not flags.other_inputs
    return bool(flags.style_mix or flags.mask or flags.style_mask or repeats)


def tell_of_seed(flags: argparse.Namespace, recipe: Recipe, messages: Messages) -> None:
    """Give notice of a seed that was given and has no effect."""
    if flags.seed_given and recipe.init not in RANDOM_STARTS:
        messages.notice(
            f"--seed has no effect on a start from {shown(recipe.init)}: it is for --init "
            f"{' and '.join(RANDOM_STARTS)}"
        )


def style_mix_of(flags: argparse.Namespace) -> dict[str, tuple[float, ...]] | None:
    """Return how much of each style there is, by layer, if the flags say so."""
    return dict(flags.style_mix) if flags.style_mix else None
