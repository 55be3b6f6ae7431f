"""The flags of ``jaxnst run``. Those of the method come from the recipe's dataclass fields."""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Union, get_args, get_origin

from jaxnst._files import name_of
from jaxnst.cli.errors import explain
from jaxnst.cli.flags import (
    SIZE,
    Parser,
    add_machine,
    add_network,
    add_saving,
    add_seed,
    add_side,
    add_styles,
    add_watching,
)
from jaxnst.cli.option_types import layer_names, layer_weights, number, sides, whole
from jaxnst.image import ENDINGS
from jaxnst.recipes import (
    RECIPES,
    base_recipe,
    format_recipe,
    get_recipe,
    read_recipe,
    recipe_on,
)
from jaxnst.recipes.schema import (
    RANDOM_STARTS,
    STARTS,
    LayerNames,
    LayerWeights,
    Option,
    Recipe,
    options,
    replace_all,
)

if TYPE_CHECKING:
    from jaxnst.image.record import Record

READERS: dict[Any, Callable[[str], Any]] = {
    float: number,
    int: whole(),
    LayerWeights: layer_weights,
    LayerNames: layer_names,
    tuple[int, ...]: sides,
}
"""What reads the value of a flag, by the type of the recipe's field."""

DESCRIPTION = "Paint the content picture in the manner of the style pictures."


def parse(
    arguments: Sequence[str],
    prog: str,
    description: str = DESCRIPTION,
    *,
    single: bool = True,
    size: int | None = None,
    where: str = "",
) -> tuple[argparse.Namespace, Recipe]:
    """Read the flags.

    Args:
      arguments: What follows the command.
      prog: What the command is called.
      description: What the help says of it.
      single: Whether it paints one picture; else the help leaves out what is for one alone.
      size: Longest side of the result where none is given; None: that of the recipe, else 512.
      where: Where the arguments stand, for messages, if not on the command line.

    Returns:
      The flags, and the recipe with the changes that they make. With ``--from``, what is not given
      is as the picture's record says, which stands in ``record``.

    Raises:
      SystemExit: With status 2 and a line on stderr if a flag cannot be used; with status 0
        after ``--help``, ``--version``, ``--list-recipes`` and ``--show-recipe``.
    """
    first = first_parser(prog, where)
    first.add_argument("--seed")
    if single:
        first.add_argument("--from", dest="origin")
        first.add_argument("-o", "--output")
        first.add_argument("--format")
        first.add_argument("--style-mix", action="append")
        for flag in ("--size", "--scales", "--style-size", "--style-scale"):
            first.add_argument(flag)
    chosen = first.parse_known_args(arguments)[0]
    if single and chosen.origin:
        record, recipe, recorded = _origin(first, chosen)
    else:
        record, recipe, recorded = None, chosen_recipe(first, chosen), []
    parser = _parser(prog, recipe, description, single, size)
    parser.where = where
    parser.set_defaults(record=record, seed_given=chosen.seed is not None)
    if record is not None:
        parser.set_defaults(recipe="")  # what a record calls its recipe is no file's name
    flags = parser.read([*recorded, *arguments])
    if record is not None and chosen.recipe is None:
        _refuse_recorded_start(parser, flags, recipe)
    try:
        recipe = _changed(recipe, flags)
    except ValueError as error:
        parser.error(str(error))
    if flags.size is None and not recipe.scales.sides:
        flags.size = size or (SIZE if recipe.scales.size is None else None)
    return flags, recipe


def _origin(first: Parser, chosen: argparse.Namespace) -> "tuple[Record, Recipe, list[str]]":
    """Read the record that is asked for, find the recipe, and write the rest as flags."""
    from jaxnst.cli.recording import read_origin, recorded_flags, recorded_recipe

    try:
        record = read_origin(chosen.origin)
        own = chosen.recipe is None
        recipe = recorded_recipe(record, chosen) if own else chosen_recipe(first, chosen)
        return record, recipe, recorded_flags(record, chosen, recipe)
    except (OSError, ValueError) as error:
        first.error(f"--from: {explain(error)}")


def first_parser(prog: str, where: str = "") -> Parser:
    """Make a parser of the flags that decide what the help calls default."""
    first = Parser(prog=prog, add_help=False, allow_abbrev=False)
    first.where = where
    first.add_argument("--recipe")
    first.add_argument("--network", default="")
    return first


def chosen_recipe(first: Parser, chosen: argparse.Namespace) -> Recipe:
    """Find the recipe that is asked for, else the default, on the network that is."""
    name = "default" if chosen.recipe is None else chosen.recipe
    try:
        return recipe_on(find_recipe(name), chosen.network)
    except (KeyError, OSError, ValueError) as error:
        first.error(f"--recipe: {explain(error)}")


def _refuse_recorded_start(parser: Parser, flags: argparse.Namespace, recipe: Recipe) -> None:
    """Refuse to open a picture that only a record names."""
    if recipe.init not in STARTS and not hasattr(flags, "init"):
        parser.error(
            f"--init: {name_of(flags.origin)} was started from a picture, {name_of(recipe.init)}: "
            "give that one too"
        )


def find_recipe(name: str) -> Recipe:
    """Return a recipe by its name, or from a TOML file.

    Raises:
      KeyError: If there is none of that name.
      OSError: If the file cannot be read.
      ValueError: If it is no recipe.
    """
    if name.lower().endswith(".toml"):
        return read_recipe(name, base=base_recipe)
    return get_recipe(name)


def _changed(recipe: Recipe, flags: argparse.Namespace) -> Recipe:
    """Apply the flags that were given to the recipe.

    Raises:
      ValueError: If a value is out of range, or two of them do not go together.
    """
    changes: dict[tuple[str, ...], Any] = {}
    if getattr(flags, "optimizer", recipe.solver.kind) != recipe.solver.kind:
        changes["solver", "learning_rate"] = None  # which is the other's
    changes |= given_options(options(recipe), flags)
    return replace_all(recipe, changes)


def given_options(
    known: Mapping[str, Option], flags: argparse.Namespace
) -> dict[tuple[str, ...], Any]:
    """Return what the flags say of the options of a recipe, by the path of each field."""
    return {
        path: getattr(flags, _dest_of(flag))
        for flag, (path, _, _) in known.items()
        if hasattr(flags, _dest_of(flag))
    }


def _parser(prog: str, recipe: Recipe, description: str, single: bool, size: int | None) -> Parser:
    parser = Parser(
        prog=prog,
        usage=f"{prog} CONTENT STYLE [STYLE ...] -o OUT [flags]",
        description=description,
        epilog="Exit status: 0 done, 1 a file or something else failed, 2 wrong flags, "
        "130 stopped by Ctrl-C, " + ("the picture so far saved." if single else "nothing saved."),
        allow_abbrev=False,
    )
    _add_pictures(parser, recipe, single, size)
    add_saving(parser, single=single)
    add_watching(parser, single=single)
    _add_method(parser, recipe)
    add_machine(parser, painting=True, single=single)
    return parser


def _add_pictures(parser: Parser, recipe: Recipe, single: bool, size: int | None) -> None:
    parser.add_argument(
        "content",
        metavar="CONTENT",
        help="picture to paint: a path, an http(s) address, or - for standard input",
    )
    parser.add_argument(
        "styles", metavar="STYLE", nargs="+", help="picture to paint like, one or several"
    )
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "-o", "--output", metavar="OUT", help="where the result is written; - is standard output"
    )
    scales = recipe.scales
    default = f"the recipe's, {scales.size} for the {scales.side} side" if scales.size else SIZE
    default = scales.sides[-1] if scales.sides else size or default
    add_side(group, "--size", f"longest side of the result (default: {default})")
    add_side(
        group,
        "--style-size",
        "longest side at which the styles are looked at (default: that of the result)",
    )
    add_styles(group)
    group.add_argument(
        "--format",
        choices=[ending[1:] for ending in ENDINGS],
        help="of a picture that goes to standard output (default: png)"
        if single
        else argparse.SUPPRESS,
    )


def _add_method(parser: Parser, recipe: Recipe) -> None:
    group = add_recipe(parser, "method", recipe)
    group.add_argument("--list-recipes", action=_ListRecipes, help="list the recipes and exit")
    group.add_argument(
        "--show-recipe",
        action=_ShowRecipe,
        metavar="NAME",
        help="print one as such a file, with all its settings, and exit",
    )
    add_network(group, recipe.network)
    add_options(group, options(recipe))
    add_seed(group, f"decides a start from {' or '.join(RANDOM_STARTS)}, and nothing else")


def add_recipe(
    parser: Parser, title: str, recipe: Recipe, *, more: str = ""
) -> argparse._ArgumentGroup:
    """Add a group of flags, the first of which chooses the recipe that the others change."""
    group = parser.add_argument_group(f"{title} (defaults are those of the recipe {recipe.name!r})")
    group.add_argument(
        "--recipe",
        default=recipe.name,
        metavar="NAME",
        help=f"a TOML file, or one of {', '.join(RECIPES)}{more}",
    )
    return group


def add_options(group: argparse._ArgumentGroup, known: Mapping[str, Option]) -> None:
    """Add the flags of a recipe's options."""
    for flag, (_, field, value) in known.items():
        group.add_argument(flag, **_keywords_of(flag, field, value))


def _keywords_of(flag: str, field: "dataclasses.Field[Any]", value: Any) -> dict[str, Any]:
    """Turn a field of the recipe into what argparse wants to know of its flag."""
    optional = get_origin(field.type) in (UnionType, Union)
    kinds = {*get_args(field.type)} if optional else {field.type}
    (kind,) = kinds - {type(None)}
    choices = field.metadata.get("choices")
    if get_origin(kind) is Literal:
        choices = get_args(kind)
    text = field.metadata["help"]
    if value not in (None, ()):  # else the help may say what the default is
        text = text.partition(" (default: ")[0] + f" (default: {_written(value)})"
    name = field.metadata.get("metavar", flag.rsplit("-", 1)[-1].upper())
    return {
        "type": READERS.get(kind, str),
        "choices": choices,
        "metavar": None if choices else name,
        "help": text.replace("%", "%%"),
        # Absent unless given: what is not said stays as the recipe has it.
        "default": argparse.SUPPRESS,
        "dest": _dest_of(flag),
    }


def _written(value: Any) -> str:
    """Write a field's value as its flag takes it."""
    if isinstance(value, tuple):
        parts = (part if isinstance(part, tuple) else (part,) for part in value)
        return ",".join(":".join(map(_written, part)) for part in parts)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dest_of(flag: str) -> str:
    """Name the place where a flag's value is kept."""
    return flag.lstrip("-").replace("-", "_")


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
