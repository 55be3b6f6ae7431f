"""The flags of ``jaxnst run``. Those of the method come from the recipe's dataclass fields."""

import argparse
import dataclasses
import difflib
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin

from jaxnst._version import __version__
from jaxnst.cli.errors import USAGE, complain, explain
from jaxnst.config import Recipe, options, replace
from jaxnst.recipes import RECIPES, format_recipe, get_recipe, read_recipe, recipe_on

SIZES = (16, 16384)
"""Longest sides that can be asked for, pixels."""

SIZE = 512
"""Longest side where neither the person nor the recipe says one."""

SEEDS = (0, 2**32 - 1)

PREPROCESSINGS = ("caffe", "torchvision", "matconvnet")
"""What parameters of a file that does not tell may have been trained with."""


class Parser(argparse.ArgumentParser):
    """A parser that complains in one line, and names the nearest flag to an unknown one."""

    def error(self, message: str) -> NoReturn:
        """Complain and exit."""
        text = message.removeprefix("argument ")
        sys.exit(complain(self.prog, f"{text} ({self.prog} --help lists all flags)", USAGE))

    def refuse(self, unknown: list[str]) -> NoReturn:
        """Complain of arguments that nobody asked for."""
        flag = next((text for text in unknown if text.startswith("-")), unknown[0])
        known = [name for action in self._actions for name in action.option_strings]
        near = difflib.get_close_matches(flag.split("=")[0], known, 1)
        hint = f": did you mean {near[0]}?" if near else ""
        self.error(f"unknown flag {flag}{hint}")


def parse(arguments: Sequence[str], prog: str) -> tuple[argparse.Namespace, Recipe]:
    """Read the flags.

    Returns:
      The flags, and the recipe with the changes that they make.

    Raises:
      SystemExit: With status 2 and a line on stderr if a flag cannot be used; with status 0
        after ``--help``, ``--version``, ``--list-recipes`` and ``--show-recipe``.
    """
    first = Parser(prog=prog, add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default="default")
    first.add_argument("--network", default="")
    # Which recipe, on which network, decides what the help calls default.
    chosen = first.parse_known_args(arguments)[0]
    try:
        recipe = recipe_on(find_recipe(chosen.recipe), chosen.network)
    except KeyError as error:
        first.error(f"--recipe: {error.args[0]}")
    except (OSError, ValueError) as error:
        first.error(f"--recipe: {explain(error)}")
    parser = _parser(prog, recipe)
    # "Intermixed": flags may stand between the style pictures.
    flags, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        parser.refuse(unknown)
    try:
        return flags, _changed(recipe, flags)
    except ValueError as error:
        parser.error(str(error))


def find_recipe(name: str) -> Recipe:
    """Return a recipe by its name, or from a TOML file.

    Raises:
      KeyError: If there is none of that name.
      OSError: If the file cannot be read.
      ValueError: If it is no recipe.
    """
    if name.lower().endswith(".toml"):
        return read_recipe(name, base=get_recipe)
    return get_recipe(name)


def _changed(recipe: Recipe, flags: argparse.Namespace) -> Recipe:
    """Apply the flags that were given to the recipe.

    Raises:
      ValueError: If a value is out of range, or two of them do not go together.
    """
    for flag, (path, _, _) in options(recipe).items():
        if hasattr(flags, _dest(flag)):
            recipe = replace(recipe, path, getattr(flags, _dest(flag)))
    return recipe


def _parser(prog: str, recipe: Recipe) -> Parser:
    parser = Parser(
        prog=prog,
        usage=f"{prog} CONTENT STYLE [STYLE ...] -o OUT [flags]",
        description="Paint the content picture in the manner of the style pictures.",
        epilog="Exit status: 0 done, 1 a file or something else failed, 2 wrong flags, "
        "130 stopped by Ctrl-C, the picture so far saved.",
        allow_abbrev=False,
    )
    _add_pictures(parser, recipe)
    _add_method(parser, recipe)
    _add_machine(parser)
    return parser


def _add_pictures(parser: Parser, recipe: Recipe) -> None:
    parser.add_argument("content", metavar="CONTENT", help="picture to paint")
    parser.add_argument(
        "styles", metavar="STYLE", nargs="+", help="picture to paint like; several count equally"
    )
    group = parser.add_argument_group("pictures")
    group.add_argument("-o", "--output", metavar="OUT", help="where the result is written")
    own = recipe.scales.size
    default = f"the recipe's, {own} for the {recipe.scales.side} side" if own else SIZE
    group.add_argument(
        "--size",
        type=_whole(*SIZES),
        default=None if own else SIZE,
        metavar="PIXELS",
        help=f"longest side of the result (default: {default})",
    )
    group.add_argument(
        "--style-size",
        type=_whole(*SIZES),
        metavar="PIXELS",
        help="longest side at which the styles are looked at (default: that of the result)",
    )
    group.add_argument(
        "--save-every",
        type=_whole(1),
        metavar="N",
        help="also save the picture every N evaluations, as OUT with their number",
    )


def _add_method(parser: Parser, recipe: Recipe) -> None:
    group = parser.add_argument_group(f"method (defaults are those of the recipe {recipe.name!r})")
    group.add_argument(
        "--recipe",
        default=recipe.name,
        metavar="NAME",
        help=f"a TOML file, or one of {', '.join(RECIPES)}",
    )
    group.add_argument("--list-recipes", action=_ListRecipes, help="list the recipes and exit")
    group.add_argument(
        "--show-recipe",
        action=_ShowRecipe,
        metavar="NAME",
        help="print one as such a file, with all its settings, and exit",
    )
    group.add_argument(
        "--network", metavar="NAME", help=f"loss network (default: {recipe.network})"
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
    for flag, (_, field, value) in options(recipe).items():
        group.add_argument(flag, **_keywords(flag, field, value))
    group.add_argument(
        "--seed",
        type=_whole(*SEEDS),
        default=0,
        metavar="N",
        help="decides the noise of a start from noise (default: 0)",
    )


def _add_machine(parser: Parser) -> None:
    group = parser.add_argument_group("machine and messages")
    group.add_argument(
        "--device",
        type=_device,
        metavar="KIND[:N]",
        help="cpu, gpu or tpu; gpu:1 is the second one (default: the fastest there is)",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="say sizes, evaluations, memory and time, and paint nothing",
    )
    group.add_argument(
        "--no-cache", action="store_true", help="neither use nor keep compiled programs on disk"
    )
    group.add_argument("--quiet", action="store_true", help="print only errors and the result")
    group.add_argument("--debug", action="store_true", help="show where an error comes from")
    group.add_argument("--version", action="version", version=f"jaxnst {__version__}")


def _keywords(flag: str, field: "dataclasses.Field[Any]", value: Any) -> dict[str, Any]:
    """Turn a field of the recipe into what argparse wants to know of its flag."""
    kinds = [kind for kind in get_args(field.type) if kind is not type(None)] or [field.type]
    choices = field.metadata.get("choices")
    if get_origin(field.type) is Literal:
        kinds, choices = [str], get_args(field.type)
    text = field.metadata["help"]
    if value is not None and "default" not in text:
        text += f" (default: {value:g})" if isinstance(value, float) else f" (default: {value})"
    name = flag.rsplit("-", 1)[-1].upper()
    return {
        "type": {float: _number, int: _whole()}.get(kinds[0], str),
        "choices": choices,
        "metavar": None if choices else name,
        "help": text.replace("%", "%%"),
        # Absent unless given: what is not said stays as the recipe has it.
        "default": argparse.SUPPRESS,
        "dest": _dest(flag),
    }


def _dest(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _whole(least: int | None = None, greatest: int | None = None) -> Callable[[str], int]:
    """Return a reader of whole numbers within bounds."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        low = least is not None and value < least
        if low or (greatest is not None and value > greatest):
            bounds = f"at least {least}" if greatest is None else f"{least} to {greatest}"
            raise argparse.ArgumentTypeError(f"{value} is out of range, expected {bounds}")
        return value

    return read


def _device(text: str) -> tuple[str, int]:
    kind, _, index = text.partition(":")
    if kind not in ("cpu", "gpu", "tpu") or not (index.isdecimal() or index == text[len(kind) :]):
        raise argparse.ArgumentTypeError(f"{text!r} is no device, expected cpu, gpu, tpu or gpu:1")
    return kind, int(index or 0)


class _ListRecipes(argparse.Action):
    """Print names and summaries of the recipes, and exit."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        width = max(map(len, RECIPES))
        for name, recipe in RECIPES.items():
            print(f"{name:<{width}}  {recipe.summary}")
        parser.exit()


class _ShowRecipe(argparse.Action):
    """Print a recipe as TOML, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, name: Any, __: Any = None) -> None:
        try:
            print(format_recipe(find_recipe(name)), end="")
        except (KeyError, OSError, ValueError) as error:
            parser.error(f"--show-recipe: {explain(error)}")
        parser.exit()
