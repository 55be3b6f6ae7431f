"""The flags of the commands: parsers, and frozen dataclasses of what was read.

A field that :func:`flag` declares is a flag of the command line, with the field's name, type and
default; :func:`add_fields` adds the flags of a dataclass to a parser, and :func:`read_fields` makes
the dataclass of what was parsed. So a flag is stated once.
"""

import argparse
import dataclasses
import difflib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, ClassVar, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from jaxnst._version import __version__
from jaxnst.cli.errors import USAGE, UsageError, explain, print_error
from jaxnst.cli.fetching import shown
from jaxnst.cli.messages import Messages
from jaxnst.cli.option_types import (
    Device,
    Mixture,
    device,
    integer,
    layer_names,
    layer_weights,
    mixture,
    number,
    sides,
)
from jaxnst.image import ENDINGS
from jaxnst.recipes.schema import RANDOM_STARTS, LayerNames, LayerWeights, Precision, Recipe

SIZE = 512
"""Longest side if neither a flag nor the recipe has one."""

SEEDS = (0, 2**32 - 1)

DPI = (1, 30_000)

MOST_STYLES = 3
"""More of them are mixed only where a flag says how."""

CHECKPOINT_SECONDS = 60
"""Between two checkpoints by default."""

PREPROCESSINGS = ("caffe", "torchvision", "matconvnet")
"""What parameters may have been trained with, for a file that does not say it."""

BATCH = "jaxnst batch --contents FOLDER --styles FOLDER --out FOLDER"
"""What paints several photographs."""

READERS: dict[Any, Callable[[str], Any]] = {
    float: number,
    int: integer(),
    LayerWeights: layer_weights,
    LayerNames: layer_names,
    tuple[int, ...]: sides,
    Device: device,
    Mixture: mixture,
}
"""What reads the value of a flag, by the type of the field."""

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """A parser that complains in one line, and names the nearest flag to an unknown one.

    Attributes:
      where: Where the arguments stand, if not on the command line.
    """

    where = ""

    def error(self, message: str) -> NoReturn:
        """Complain and exit."""
        text = f"{self.where}: " * bool(self.where) + message.removeprefix("argument ")
        sys.exit(print_error(self.prog, f"{text} ({self.prog} --help lists all flags)", USAGE))

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Read all arguments; flags may stand between several pictures.

        Raises:
          SystemExit: With status 2 and a line on stderr if one cannot be used or is unknown.
        """
        several = any(action.nargs == "+" for action in self._get_positional_actions())
        read = self.parse_known_intermixed_args if several else self.parse_known_args
        flags, unknown = read(arguments)
        if unknown:
            name = next((text for text in unknown if text.startswith("-")), unknown[0])
            known = [flag for action in self._actions for flag in action.option_strings]
            near = difflib.get_close_matches(name.split("=")[0], known, 1)
            self.error(f"unknown flag {name}" + (f": did you mean {near[0]}?" if near else ""))
        return flags


class PrintAndExit(argparse.Action):
    """Print the text that a function makes of the flag's value, and exit."""

    def __init__(self, *names: Any, text: Callable[[Any], str], **more: Any) -> None:
        super().__init__(*names, **more)
        self.text = text

    def __call__(
        self, parser: argparse.ArgumentParser, _: Any, value: Any, name: str | None = None
    ) -> NoReturn:
        """Print and exit."""
        try:
            print(self.text(value))
        except (KeyError, OSError, ValueError) as error:
            parser.error(f"{name}: {explain(error)}")
        parser.exit()


def flag(name: str, help: str, default: Any = None, **more: Any) -> Any:
    """Declare a field that is a flag, or an argument.

    Args:
      name: The flag, and what the help calls its value: ``--dpi N``; or that alone: ``STYLE``.
      help: What it does; its default is added, unless that is None, False or a list.
      default: Its value if it is not given; ``...`` if it has to be given.
      more: ``choices``, and ``read``, a reader of its value, if the field's type does not say them.
    """
    *names, last = name.split()
    names, metavar = ([*names, last], None) if last.startswith("-") else (names, last)
    metadata = {"flag": (names or [""])[-1], "names": names, "metavar": metavar, "help": help}
    if default is ...:
        return field(metadata=metadata | more)
    if isinstance(default, list):
        return field(default_factory=list, metadata=metadata | more)
    return field(default=default, metadata=metadata | more)


@dataclass(frozen=True, kw_only=True)
class MachineFlags:
    """What is computed on, and how much is printed."""

    GROUP: ClassVar = "machine and messages"

    device: Device | None = flag(
        "--device KIND[:N]",
        "cpu, gpu or tpu; gpu:1 is the second one (default: the fastest there is)",
    )
    precision: Precision = flag(
        "--precision",
        "of the network: tf32 is faster on NVIDIA's GPUs, bfloat16 takes half their memory as "
        "well; both change the picture slightly",
        "float32",
    )
    no_cache: bool = flag("--no-cache", "neither use nor keep compiled programs on disk", False)
    quiet: bool = flag("--quiet", "print only errors and the result", False)
    debug: bool = flag("--debug", "show where an error comes from", False)


@dataclass(frozen=True, kw_only=True)
class NetworkFlags:
    """Which network is loaded from where."""

    GROUP: ClassVar = "network"

    network: str | None = flag("--network NAME", "loss network")
    weights: str | None = flag(
        "--weights FILE",
        "the network's parameters: safetensors, Keras HDF5, NumPy .npz, MatConvNet's .mat, or "
        "PyTorch's .pth",
    )
    preprocessing: str | None = flag(
        "--preprocessing",
        "what they were trained with, where the file does not tell",
        choices=PREPROCESSINGS,
    )
    yes: bool = flag("--yes", "download the network's official parameters unasked", False)


@dataclass(frozen=True, kw_only=True)
class LoadFlags(NetworkFlags, MachineFlags):
    """How a network is loaded, and on what it runs."""


@dataclass(frozen=True, kw_only=True)
class StyleFlags:
    """Content and styles: which style goes where, and how much of each."""

    GROUP: ClassVar = "pictures"

    content: str = flag("CONTENT", "a picture", ...)
    styles: list[str] = flag("STYLE", "picture to paint like, one or several", ...)
    style_mix: list[Mixture] | None = flag(
        "--style-mix [LAYER:]WEIGHTS",
        "how much of each style, 0.7,0.3; at one layer relu1_1:0,1; may be repeated (default: "
        "equal parts)",
    )
    mask: list[str] = flag(
        "--mask FILE",
        "where in the content there is style, white on black; repeated, a region for each style",
        [],
    )
    style_mask: list[str] = flag(
        "--style-mask FILE",
        "which part of a style counts; repeated, one for each style, or several of one",
        [],
    )

    @property
    def roles_given(self) -> bool:
        """Whether something says what each style is for."""
        return bool(self.style_mix or self.mask or self.style_mask)


@dataclass(frozen=True, kw_only=True)
class FileFlags:
    """How the result is saved."""

    GROUP: ClassVar = "file"

    bits: int = flag(
        "--bits", "of each color: 16 for PNG and TIFF, with jaxnst[print]", 8, choices=(8, 16)
    )
    dpi: int | None = flag("--dpi N", "pixels per inch that the file says", read=integer(*DPI))
    quality: int | None = flag(
        "--quality N", "of JPEG, WebP and AVIF (default: 95)", read=integer(1, 100)
    )


@dataclass(frozen=True, kw_only=True)
class FolderFlags:
    """How results are named in a folder, and whether they replace others."""

    ending: str = flag(
        "--ending", "of the names of pictures in the folder of results", ".png", choices=ENDINGS
    )
    overwrite: bool = flag(
        "--overwrite",
        "replace results of other inputs or settings, which is refused otherwise",
        False,
    )


def add_flags(
    parser: Parser, cls: type[Any], *, hidden: type = object, help: Mapping[str, str] | None = None
) -> None:
    """Add all flags of a command's dataclass, in a group for each of its parts.

    Args:
      parser: Of the command.
      cls: The dataclass; a part's class variable GROUP is the title of its group.
      hidden: The help leaves out the parts of this class.
      help: Texts for some fields, in place of their own.
    """
    for part in cls.__mro__:
        names = [name for name in inspect.get_annotations(part) if name != "GROUP"]
        title = vars(part).get("GROUP")
        shown = title and not issubclass(hidden, part)
        group = parser.add_argument_group(title if shown else None) if title else parser
        if names:
            add_fields(group, part, names, hidden=issubclass(hidden, part), help=help)
    parser.add_argument("--version", action="version", version=f"jaxnst {__version__}")


def add_fields(
    group: argparse._ActionsContainer,
    cls: type[Any],
    names: Sequence[str] | None = None,
    *,
    hidden: bool = False,
    help: Mapping[str, str] | None = None,
) -> None:
    """Add the flags of a dataclass to a group.

    Args:
      group: Where to.
      cls: The dataclass; fields without a flag are left out.
      names: Of the fields to add; None: all.
      hidden: Whether the help leaves them out.
      help: Texts for some fields, in place of their own.
    """
    for f in dataclasses.fields(cls):
        if "flag" in f.metadata and (names is None or f.name in names):
            value = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            text = argparse.SUPPRESS if hidden else (help or {}).get(f.name)
            add_field(group, f, value, text=text)


def add_field(
    group: argparse._ActionsContainer,
    field: "dataclasses.Field[Any]",
    value: Any,
    *,
    text: str | None = None,
    absent: bool = False,
) -> None:
    """Add the flag of a field.

    Args:
      group: Where to.
      field: Of a dataclass, with ``flag`` and ``help`` in its metadata.
      value: Its default.
      text: The help, in place of the field's.
      absent: Whether the parser returns nothing if the flag is not given.
    """
    kind, metadata = field.type, field.metadata
    names = metadata.get("names", [metadata["flag"]])
    if get_origin(kind) in (UnionType, Union):
        (kind,) = {*get_args(kind)} - {type(None)}
    text = metadata["help"] if text is None else text
    more: dict[str, Any] = {"action": "store_true"}
    if kind is not bool:
        several = get_origin(kind) is list
        kind = get_args(kind)[0] if several else kind
        choices = get_args(kind) if get_origin(kind) is Literal else metadata.get("choices")
        word = metadata["flag"].split("-")[-1].upper()
        more = {
            "action": "append" if several and names else "store",
            "type": metadata.get("read") or READERS.get(kind, str),
            "choices": choices,
            "metavar": None if choices else metadata.get("metavar") or word,
        }
        # Without a value, the help may say what the default is.
        if value not in (None, (), [], "", dataclasses.MISSING) and text != argparse.SUPPRESS:
            text = text.partition(" (default: ")[0] + f" (default: {_written(value)})"
        if not names:
            names, more["nargs"] = [field.name], "+" if several else None
    if absent:
        more |= {"dest": dest_of(metadata["flag"]), "default": argparse.SUPPRESS}
    elif metadata["flag"]:
        required = value is dataclasses.MISSING
        more |= {"dest": field.name, "default": None if required else value, "required": required}
    group.add_argument(*names, help=text.replace("%", "%%"), **more)


def _written(value: Any) -> str:
    """Write a field's value as its flag takes it."""
    if isinstance(value, tuple):
        parts = (part if isinstance(part, tuple) else (part,) for part in value)
        return ",".join(":".join(map(_written, part)) for part in parts)
    return f"{value:g}" if isinstance(value, float) else str(value)


def dest_of(flag: str) -> str:
    """Return the name under which a parser keeps a flag's value."""
    return flag.lstrip("-").replace("-", "_")


def read_fields(cls: type[T], parsed: argparse.Namespace) -> T:
    """Return a dataclass of what was parsed; what was not parsed has its default."""
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: value for name, value in vars(parsed).items() if name in names})


def add_seed(group: argparse._ActionsContainer, text: str) -> None:
    """Add the flag for what random numbers begin with."""
    group.add_argument(
        "--seed", type=integer(*SEEDS), default=0, metavar="N", help=f"{text} (default: 0)"
    )


def add_network(group: argparse._ActionsContainer, default: str) -> None:
    """Add the flags that say which network is loaded from where."""
    add_fields(group, NetworkFlags, help={"network": f"loss network (default: {default})"})


def add_machine(parser: Parser) -> None:
    """Add the flags that say what is computed on, and how much is printed."""
    group = parser.add_argument_group(MachineFlags.GROUP)
    add_fields(group, MachineFlags)
    group.add_argument("--version", action="version", version=f"jaxnst {__version__}")


def check_styles(flags: StyleFlags) -> None:
    """Refuse styles that are most likely photographs, and two mixtures for the same layers.

    ``photos/*.jpg painting.jpg`` makes the first photograph the content and all others styles.

    Raises:
      UsageError: There are such.
    """
    layers = [layer for layer, _ in flags.style_mix or ()]
    if len(set(layers)) < len(layers):
        raise UsageError("--style-mix is given twice for the same layers: say each once")
    count = len(flags.styles)
    if count > MOST_STYLES and not flags.roles_given:
        first, *_, last = map(shown, flags.styles)
        raise UsageError(
            f"{shown(flags.content)} is the content, and {first} to {last} are {count} styles of "
            f"it: to paint several photographs use {BATCH}; to mix that many styles give "
            f"--style-mix {','.join('1' * count)}"
        )


def report_styles(flags: StyleFlags, messages: Messages) -> None:
    """Give notice of which picture is the content where there are several styles."""
    if len(flags.styles) > 1 and not flags.roles_given:
        messages.notice(
            f"{shown(flags.content)} is painted in the manner of all the others together, "
            f"{', '.join(map(shown, flags.styles))}; to paint several photographs use {BATCH}"
        )


def report_unused_seed(flags: Any, recipe: Recipe, messages: Messages) -> None:
    """Give notice of a seed that was given and has no effect."""
    if flags.seed_given and recipe.init not in RANDOM_STARTS:
        messages.notice(
            f"--seed has no effect on a start from {shown(recipe.init)}: it is for --init "
            f"{' and '.join(RANDOM_STARTS)}"
        )


def style_mix_of(flags: StyleFlags) -> dict[str, tuple[float, ...]] | None:
    """Return how much of each style there is, by layer; None: equal parts."""
    return dict(flags.style_mix) if flags.style_mix else None
