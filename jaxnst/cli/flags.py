"""The flags of the commands: parsers, and frozen dataclasses of what was read.

A field that :func:`flag` declares is a flag of the command line, with the field's name, type and
default; :func:`add_fields` adds the flags of a dataclass to a parser, and :func:`read_fields` makes
the dataclass of what was parsed. So a flag is stated once.
"""

import argparse
import dataclasses
import difflib
import inspect
import os
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, ClassVar, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from jaxnst._version import __version__
from jaxnst.cli.errors import USAGE, UsageError, explain, print_error
from jaxnst.cli.fetching import shown
from jaxnst.cli.help import COMPLETING, MEANT, PICTURES, SHORT_HELP
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
from jaxnst.image import DPI, ENDINGS
from jaxnst.recipes.schema import (
    RANDOM_STARTS,
    LayerNames,
    LayerWeights,
    Precision,
    Recipe,
    option_name,
)

SIZE = 512
"""Longest side if neither a flag nor the recipe has one."""

SEEDS = (0, 2**32 - 1)

MOST_STYLES = 3
"""More of them are mixed only where a flag says how."""

CHECKPOINT_SECONDS = 60
"""Between two checkpoints by default."""

PREPROCESSINGS = ("caffe", "torchvision", "matconvnet")
"""Choices of ``--preprocessing``, for parameter files that do not state theirs."""

BATCH = "jaxnst batch --contents FOLDER --styles FOLDER -o FOLDER"
"""The command to suggest for painting several photographs."""

READERS: dict[Any, Callable[[str], Any]] = {
    float: number,
    int: integer(),
    LayerWeights: layer_weights,
    LayerNames: layer_names,
    tuple[int, ...]: sides,
    Device: device,
    Mixture: mixture,
}
"""Functions that parse the value of a flag, by the type of its field."""

T = TypeVar("T")


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
            text = self.text(value)
        except (KeyError, OSError, ValueError) as error:
            parser.error(f"{name}: {explain(error)}")
        print(text.removesuffix("\n"))
        parser.exit()


class _Formatter(argparse.HelpFormatter):
    """Keeps names with hyphens on one line."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """A parser with help in two lengths, errors of one line, and suggestions for unknown flags.

    Attributes:
      where: Where the arguments stand, if not on the command line.
      missing: Continues the error that arguments are missing.
      short_help: What ``-h`` shows; None: the same as ``--help``.
      elsewhere: Flags of other commands, each with what to do instead.
    """

    def __init__(self, *, where: str = "", add_help: bool = True, **more: Any) -> None:
        super().__init__(
            **{"allow_abbrev": False, "formatter_class": _Formatter, **more, "add_help": False}
        )
        self.where, self.missing, self.elsewhere = where, "", dict[str, str]()
        self.short_help = SHORT_HELP.get(self.prog.removeprefix("jaxnst")[1:])
        if add_help and self.short_help:
            self.add_argument(
                "-h",
                action=PrintAndExit,
                nargs=0,
                text=lambda _: self.format_short_help(),
                help="show examples and the most common flags",
            )
            self.add_argument("--help", action="help", help="show this help, with all flags")
        elif add_help:
            self.add_argument("-h", "--help", action="help", help="show this help")

    def format_short_help(self) -> str:
        """Return what ``-h`` shows: examples, and the flags that most people want."""
        short = self.short_help
        assert short is not None
        head, flags = self._get_formatter(), self._get_formatter()
        head.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        head.add_text(self.description)
        lines = [f"  # {text}\n  {self.prog} {arguments}" for arguments, text in short.examples]
        flags.start_section("the most common flags")
        flags.add_arguments(self._get_positional_actions())
        flags.add_arguments(self._option_string_actions[name] for name in short.flags)
        flags.end_section()
        flags.add_text(f"{self.prog} --help shows all flags.")
        return "\n".join([head.format_help(), "examples:", *lines, "", flags.format_help()])

    def error(self, message: str) -> NoReturn:
        """Complain and exit."""
        if message.startswith("the following arguments are required: "):
            message = message.replace("the following arguments are required:", "missing")
            usual = "-h shows examples" if self.short_help else "--help lists all flags"
            message += self.missing or f": {self.prog} {usual}"
        text = f"{self.where}: " * bool(self.where) + message.removeprefix("argument ")
        sys.exit(print_error(self.prog, text, USAGE))

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Read all arguments; flags may stand between several pictures.

        Raises:
          SystemExit: With status 2 and a line on stderr if one cannot be used or is unknown.
        """
        self.complete()
        positional = self._get_positional_actions()
        if not arguments and any(action.required for action in positional):
            text = self.format_short_help() if self.short_help else self.format_help()
            print(text, end="", file=sys.stderr)
            sys.exit(USAGE)
        several = any(action.nargs in ("+", "*") for action in positional)
        if several:  # an unknown flag may be why argparse finds too few pictures
            for name, _, words in self.split(arguments):
                is_known = name in self._option_string_actions
                # -output would be -o with the value "utput".
                if name and (not is_known or words[0].startswith("-output")):
                    self.error(self._suggest(words[0].partition("=")[0]))
        read = self.parse_known_intermixed_args if several else self.parse_known_args
        flags, unknown = read(arguments)
        if unknown:
            name = next((text for text in unknown if text.startswith("-")), unknown[0])
            self.error(self._suggest(name.partition("=")[0]))
        return flags

    def split(self, arguments: Sequence[str]) -> list[tuple[str, str, list[str]]]:
        """Split arguments into flags and pictures, without reading their values.

        Returns:
          For each flag its longest name, its value, and the words that it was; a picture has no
          name.
        """
        parts, left = list[tuple[str, str, list[str]]](), list(arguments)
        while left:
            word = left.pop(0)
            name, equals, value = word.partition("=")
            if word == "--":  # the rest are pictures, even if they begin with a hyphen
                paths = [f"./{path}" if path[:1] == "-" and path != "-" else path for path in left]
                return parts + [("", path, [path]) for path in paths]
            if not word.startswith("-") or word == "-":
                parts.append(("", word, [word]))
                continue
            if word[1] != "-":  # -oFILE
                name, value = word[:2], word[2:]
            action, words = self._option_string_actions.get(name), [word]
            if action is not None and action.nargs != 0 and not (equals or value) and left:
                value = left.pop(0)
                words.append(value)
            parts.append((action.option_strings[-1] if action else name, value, words))
        return parts

    def complete(self) -> None:
        """If a shell asks what may follow on a command line, answer and exit."""
        if COMPLETING in os.environ:
            import argcomplete

            argcomplete.autocomplete(self)

    def _suggest(self, name: str) -> str:
        """Return a message about an unknown argument."""
        if not name.startswith("-"):
            return f"unexpected argument {name!r}"
        if name in self.elsewhere:
            return f"{name} {self.elsewhere[name]}"
        word = name.lstrip("-").replace("_", "-")
        known = self._option_string_actions
        near = difflib.get_close_matches(name, known, 1, 0.8)
        meant = [flag for flag in (f"--{word}", *MEANT.get(word, ()), *near) if flag in known]
        if word in PICTURES and not meant:
            return f"unknown flag {name}: pictures need no flag, as in photo.jpg painting.jpg"
        hint = f"did you mean {meant[0]}?" if meant else f"{self.prog} --help lists all flags"
        return f"unknown flag {name}: {hint}"


def flag(name: str, help: str, default: Any = None, **more: Any) -> Any:
    """Declare a field that is a flag, or an argument.

    Args:
      name: The flag, and what the help calls its value: ``--dpi N``; or that alone: ``STYLE``.
      help: What it does; its default is added, unless that is None, False or a list.
      default: Its value if it is not given; ``...`` if it has to be given.
      more: ``choices``, and ``read``, a reader of its value, if the field's type does not say them.
    """
    names = [word for word in name.split() if word.startswith("-")]
    value = "".join(word for word in name.split() if not word.startswith("-"))
    metadata = {"flag": names[-1] if names else "", "names": names, "help": help, **more}
    if value:
        metadata["metavar"] = value
    if isinstance(default, list):
        return field(default_factory=list, metadata=metadata)
    return field(default=dataclasses.MISSING if default is ... else default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class MachineFlags:
    """The device and precision to compute with, and how much is printed."""

    GROUP: ClassVar = "device and messages"

    device: Device | None = flag(
        "--device KIND[:N]",
        "cpu, gpu or tpu; gpu:1 is the second GPU alone (default: the fastest kind available)",
    )
    precision: Precision = flag(
        "--precision",
        "precision of the network: tf32 is faster on NVIDIA GPUs, bfloat16 also needs half the "
        "memory there; both change the picture slightly",
        "float32",
    )
    no_cache: bool = flag(
        "--no-cache",
        "neither use nor store anything in the cache folder: compiled programs, and the "
        "checkpoints of jaxnst run",
        False,
    )
    quiet: bool = flag("--quiet", "print only errors and the result", False)
    json: bool = flag(
        "--json",
        "for programs: print a line of JSON on standard output for every report and result, "
        "instead of the result's path",
        False,
    )
    debug: bool = flag("--debug", "print the traceback of an error", False)


@dataclass(frozen=True, kw_only=True)
class NetworkFlags:
    """Which network is loaded from where."""

    GROUP: ClassVar = "network"

    network: str | None = flag("--network NAME", "loss network")
    weights: str | None = flag(
        "--weights FILE",
        "file of the network's parameters: safetensors, Keras HDF5, NumPy .npz, MatConvNet .mat, "
        "or PyTorch .pth",
    )
    preprocessing: str | None = flag(
        "--preprocessing",
        "preprocessing that the parameters were trained with, if the file does not state it",
        choices=PREPROCESSINGS,
    )
    yes: bool = flag("--yes", "download the network's official parameters without asking", False)


@dataclass(frozen=True, kw_only=True)
class LoadFlags(NetworkFlags, MachineFlags):
    """How a network is loaded, and on what it runs."""


@dataclass(frozen=True, kw_only=True)
class StyleFlags:
    """Content and styles: which style goes where, and how much of each."""

    GROUP: ClassVar = "pictures"

    content: str = flag(
        "CONTENT", "picture to paint: a path, an http(s) address, or - for standard input", ...
    )
    styles: list[str] = flag("STYLE", "one or more pictures to take the style from", ...)
    style_mix: list[Mixture] | None = flag(
        "--style-mix [LAYER:]WEIGHTS",
        "weights of the styles, such as 0.7,0.3; for one layer, relu1_1:0,1; may be repeated "
        "(default: equal parts)",
    )
    mask: list[str] = flag(
        "--mask FILE",
        "black-and-white picture: the style is applied where it is white; give one for each style "
        "to paint regions in different styles",
        [],
    )
    style_mask: list[str] = flag(
        "--style-mask FILE",
        "black-and-white picture: only the white part of the style is used; give one for each "
        "style, or several for one style",
        [],
    )

    @property
    def mixture(self) -> dict[str, tuple[float, ...]] | None:
        """How much of each style there is, by layer; None: equal parts."""
        return dict(self.style_mix) if self.style_mix else None

    @property
    def roles_given(self) -> bool:
        """Whether something says what each style is for."""
        return bool(self.style_mix or self.mask or self.style_mask)


@dataclass(frozen=True, kw_only=True)
class FileFlags:
    """How the result is saved."""

    GROUP: ClassVar = "output file"

    bits: int = flag(
        "--bits",
        "bits per channel; 16 is for PNG and TIFF, and needs jaxnst[print]",
        8,
        choices=(8, 16),
    )
    dpi: int | None = flag(
        "--dpi N", "resolution stored in the file, in pixels per inch", read=integer(*DPI)
    )
    quality: int | None = flag(
        "--quality N",
        "quality of JPEG, WebP and AVIF, 1 to 100 (default: 95)",
        read=integer(1, 100),
    )
    no_metadata: bool = flag(
        "--no-metadata", "do not store in the file how the picture was made", False
    )


@dataclass(frozen=True, kw_only=True)
class FolderFlags:
    """How results are named in a folder, and whether they replace others."""

    ending: str = flag(
        "--ending", "file format of the pictures in the output folder", ".png", choices=ENDINGS
    )
    overwrite: bool = flag(
        "--overwrite", "replace results that were made with other inputs or settings", False
    )


def add_flags(
    parser: Parser,
    cls: type[Any],
    *,
    without: Sequence[type[Any]] = (),
    help: Mapping[str, str] | None = None,
) -> None:
    """Add all flags of a command's dataclass, in a group for each of its parts.

    A part's class variable GROUP is the title of its group; the parts in ``without`` are left out.
    ``help`` has texts for some fields, in place of their own.
    """
    for part in cls.__mro__:
        if part not in without and (names := inspect.get_annotations(part)):
            title = vars(part).get("GROUP")
            add_fields(parser.add_argument_group(title) if title else parser, part, names, help)
    parser.add_argument("--version", action="version", version=f"jaxnst {__version__}")


def add_fields(
    group: argparse._ActionsContainer,
    cls: type[Any],
    names: Collection[str] | None = None,
    help: Mapping[str, str] | None = None,
) -> None:
    """Add the flags of a dataclass, or some of them, to a group; ``help`` replaces their texts."""
    for f in dataclasses.fields(cls):
        if "flag" in f.metadata and (names is None or f.name in names):
            add_field(group, f, f.default, (help or {}).get(f.name))


def add_field(
    group: argparse._ActionsContainer,
    field: "dataclasses.Field[Any]",
    value: Any,
    text: str | None = None,
) -> None:
    """Add the flag of a field to a group, with its default, which the help tells.

    The field is one that :func:`flag` made, or an option of a recipe, of which the parser returns
    nothing unless the flag is given. ``text`` is the help, in place of the field's.
    """
    kind, metadata = field.type, field.metadata
    names = metadata.get("names", [metadata["flag"]])
    if get_origin(kind) in (UnionType, Union):
        kind = get_args(kind)[0]  # the other is None
    if several := get_origin(kind) is list:
        kind = get_args(kind)[0]
    text = text or metadata["help"]
    more: dict[str, Any] = {"action": "store_true"}
    if kind is not bool:
        choices = get_args(kind) if get_origin(kind) is Literal else metadata.get("choices")
        word = metadata["flag"].split("-")[-1].upper()
        more = {
            "action": "append" if several and names else "store",
            "type": metadata.get("read") or READERS.get(kind, str),
            "choices": choices,
            "metavar": None if choices else metadata.get("metavar", word),
        }
        # Without a value, the help may say what the default is.
        if value not in (None, (), "", dataclasses.MISSING):
            text = f"{text.partition(' (default: ')[0]} (default: {_written(value)})"
    if "names" not in metadata:
        more |= {"dest": option_name(metadata["flag"]), "default": argparse.SUPPRESS}
    elif names:
        unset = value is dataclasses.MISSING
        required = unset and field.default_factory is dataclasses.MISSING
        default = argparse.SUPPRESS if unset else value
        more |= {"dest": field.name, "default": default, "required": required}
    else:
        names, more["nargs"] = [field.name], "+" if several else None
    group.add_argument(*names, help=text.replace("%", "%%"), **more)


def _written(value: Any) -> str:
    """Write a field's value as its flag takes it."""
    if isinstance(value, tuple):
        parts = (part if isinstance(part, tuple) else (part,) for part in value)
        return ",".join(":".join(map(_written, part)) for part in parts)
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_fields(cls: type[T], parsed: argparse.Namespace) -> T:
    """Return a dataclass of what was parsed; what was not parsed has its default."""
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: value for name, value in vars(parsed).items() if name in names})


def refuse_folder(source: str) -> None:
    """Refuse a folder where a single picture is expected.

    Raises:
      IsADirectoryError: It is one.
    """
    if os.path.isdir(source):
        raise IsADirectoryError(
            f"{shown(source)} is a folder, expected a picture: to paint whole folders, use {BATCH}"
        )


def check_styles(flags: StyleFlags) -> None:
    """Refuse styles that are most likely photographs, and two mixtures for the same layers.

    ``photos/*.jpg painting.jpg`` makes the first photograph the content and all others styles.

    Raises:
      IsADirectoryError: One is a folder.
      UsageError: There are such, or one is a film.
    """
    from jaxnst.video import ENDINGS as FILMS  # not at the top: -h does without

    for style in flags.styles:
        refuse_folder(style)
    for source in (flags.content, *flags.styles):
        if source.lower().endswith(FILMS):
            raise UsageError(f"{shown(source)} is a film: to paint films, use jaxnst apply")
    layers = [layer for layer, _ in flags.style_mix or ()]
    if len(set(layers)) < len(layers):
        raise UsageError("--style-mix is given twice for the same layers: give it once")
    count = len(flags.styles)
    if count > MOST_STYLES and not flags.roles_given:
        first, *_, last = map(shown, flags.styles)
        raise UsageError(
            f"{shown(flags.content)} would be painted in a mixture of {count} styles, {first} to "
            f"{last}: to paint several photographs, use {BATCH}; to mix so many styles, add "
            f"--style-mix {','.join('1' * count)}"
        )


def report_styles(flags: StyleFlags, messages: Messages) -> None:
    """Give notice of which picture is the content where there are several styles."""
    if len(flags.styles) > 1 and not flags.roles_given:
        messages.notice(
            f"{shown(flags.content)} is painted in the manner of a mixture of "
            f"{', '.join(map(shown, flags.styles))}; to paint several photographs, use {BATCH}"
        )


def report_unused_seed(flags: Any, recipe: Recipe, messages: Messages) -> None:
    """Give notice of a seed that was given and has no effect."""
    if flags.seed_given and recipe.init not in RANDOM_STARTS:
        messages.notice(
            f"--seed has no effect on a start from {shown(recipe.init)}: it is for --init "
            f"{' and '.join(RANDOM_STARTS)}"
        )
