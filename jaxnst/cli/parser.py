"""The flags of ``jaxnst run``. Those of the method come from the recipe's dataclass fields."""

import argparse
import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from jaxnst._files import name_of
from jaxnst.cli.errors import explain
from jaxnst.cli.fetching import STREAM, is_address
from jaxnst.cli.flags import (
    CHECKPOINT_SECONDS,
    SEEDS,
    SIZE,
    FileFlags,
    LoadFlags,
    Parser,
    PrintAndExit,
    StyleFlags,
    add_field,
    add_flags,
    flag,
    read_fields,
)
from jaxnst.cli.help import TIPS
from jaxnst.cli.option_types import SIZES, integer, memory, tile
from jaxnst.image import ENDINGS
from jaxnst.image.record import Record, RecordedChange
from jaxnst.recipes import RECIPES, base_recipe, format_recipe, get_recipe, read_recipe, recipe_on
from jaxnst.recipes.schema import (
    RANDOM_STARTS,
    STARTS,
    Option,
    Recipe,
    option_name,
    options,
    replace_all,
    without_none,
)

DESCRIPTION = "Paint the content picture in the manner of the style pictures."


@dataclass(frozen=True, kw_only=True)
class RecordFlags:
    """A result without a name, and the record of a picture."""

    GROUP: ClassVar = "standard output, and repeating a run"

    format: str | None = flag(
        "--format",
        "format of the picture with -o - (default: png)",
        choices=[ending[1:] for ending in ENDINGS],
    )
    origin: str | None = flag(
        "--from PICTURE",
        "repeat the run that made this picture, with the changes that other flags make",
    )
    other_inputs: bool = flag(
        "--other-inputs", "with --from: allow other pictures than those of the recorded run", False
    )
    change: list[str] = flag(
        "--change FILE",
        "with --from: a style or mask that came while the recorded run went on; may be repeated",
        [],
    )


@dataclass(frozen=True, kw_only=True)
class WatchFlags:
    """What is reported, and written beside the picture."""

    GROUP: ClassVar = "progress and further files"

    dry_run: bool = flag(
        "--dry-run", "print sizes, evaluations, memory and time, and paint nothing", False
    )
    timings: bool = flag(
        "--timings", "print at the end how long each scale waited for compilation and ran", False
    )
    save_every: int | None = flag(
        "--save-every N",
        "also save the picture every N evaluations; the number is added to the name OUT",
        read=integer(1),
    )
    preview: str | None = flag(
        "--preview FILE",
        "keep the picture so far in this file, for an image viewer that reloads it; - shows it in "
        "a terminal that can display pictures (kitty, iTerm2, sixel)",
    )
    log: str | None = flag(
        "--log FILE", "write evaluations, losses and seconds to this file, one JSON object per line"
    )
    plot: str | None = flag(
        "--plot FILE",
        "plot the losses over the evaluations: .png, .svg or .pdf; needs jaxnst[watch]",
    )
    animate: str | None = flag(
        "--animate FILE",
        "save an animation of the run: .gif, .webp, or .mp4, which needs jaxnst[watch]",
    )
    animate_every: int | None = flag(
        "--animate-every N",
        "add a frame to the animation every N evaluations (default: chosen for at most 100 frames)",
        read=integer(1),
    )
    side_by_side: str | None = flag(
        "--side-by-side FILE", "save content, styles and result as one labeled picture"
    )
    checkpoint: str | None = flag(
        "--checkpoint FILE", "save the state of the run; if FILE exists, resume from it"
    )
    checkpoint_every: int | None = flag(
        "--checkpoint-every SECONDS",
        f"save the state every so many seconds (default: {CHECKPOINT_SECONDS})",
        read=integer(0, 86400),
    )
    resume: bool = flag(
        "--resume",
        "continue the same command where it was stopped, from the file of --checkpoint or the one "
        "in the cache folder; a larger --steps extends the last scale",
        False,
    )
    overwrite: bool = flag(
        "--overwrite", "replace a checkpoint that was written with other inputs or settings", False
    )


@dataclass(frozen=True, kw_only=True)
class LimitFlags:
    """What a run may take, and whether it can be repeated."""

    GROUP: ClassVar = "memory and reproducibility"

    max_memory: int | None = flag(
        "--max-memory AMOUNT",
        "use at most this much memory, such as 8GB or 500MiB: the run gets slower, or the result "
        "smaller (default: what is available, at full size)",
        read=memory,
    )
    deterministic: bool = flag(
        "--deterministic",
        "make a GPU repeat a picture byte for byte, which is slower; a CPU does so anyway, on the "
        "same machine with the same number of threads",
        False,
    )


@dataclass(frozen=True, kw_only=True)
class TileFlags:
    """How a picture is computed that does not fit into memory as a whole."""

    GROUP: ClassVar = "very large pictures"

    tile: int | str = flag(
        "--tile PIXELS|auto|off",
        "compute the picture in overlapping tiles of at most this many pixels: the same picture, "
        "with less memory and more time; auto: only if it does not fit in memory otherwise, in "
        "the largest tiles that do",
        "auto",
        read=tile,
    )


@dataclass(frozen=True, kw_only=True)
class RunFlags(StyleFlags, FileFlags, RecordFlags, WatchFlags, LimitFlags, TileFlags, LoadFlags):
    """All flags of ``jaxnst run`` but those that change the recipe.

    Attributes:
      recipe: A name or a file; "" if it is that of a record.
      seed_given: Whether the command line has a seed.
      record: Of the picture that ``--from`` names.
      changes: Of options, while it is painted, as that record has them.
    """

    output: str = flag(
        "-o --output OUT",
        "file to save the result to, or - for standard output (default: CONTENT-STYLE.png in the "
        "current folder)",
        "",
    )
    size: int | None = flag("--size PIXELS", "longest side of the result", read=integer(*SIZES))
    style_size: int | None = flag(
        "--style-size PIXELS",
        "longest side to which the styles are scaled (default: that of the result)",
        read=integer(*SIZES),
    )
    seed: int = flag(
        "--seed N",
        f"random seed, for a start from {' or '.join(RANDOM_STARTS)}; other starts ignore it",
        0,
        read=integer(*SEEDS),
    )
    recipe: str
    seed_given: bool
    record: Record | None
    changes: tuple[RecordedChange, ...]

    @property
    def roles_given(self) -> bool:
        """Whether flags, or the record of a run with the same pictures, say what styles are for."""
        return super().roles_given or (self.record is not None and not self.other_inputs)


TRACED = {"--content-weight", "--style-weight", "--tv-weight", "--learning-rate", "--style-scale"}
"""Flags of numbers that change no program."""


def own_flags(*names: str) -> dict[str, Any]:
    """List flags that pictures painted together may each have, with the types of their values.

    ``names`` lists fields of RunFlags beside those that decide what is painted.
    """
    names = "seed", "size", "style_size", "style_mix", *names
    fields = [f for _, f, _ in options(Recipe()).values()]
    fields += [f for f in dataclasses.fields(RunFlags) if f.name in names]
    return {"--recipe": str} | {f.metadata["flag"]: without_none(f.type)[0] for f in fields}


def program_of(flags: RunFlags, recipe: Recipe) -> str:
    """Name all that decides a picture's programs and memory but the sizes of its files."""
    method = [v for flag, (_, _, v) in options(recipe).items() if flag not in TRACED]
    network = flags.network or recipe.network, flags.precision
    return repr((flags.recipe, method, network, flags.size, flags.style_size, flags.style_mix))


SINGLE = RecordFlags, WatchFlags, TileFlags
"""Flags for a single picture, which commands that paint several refuse."""


def parse(
    arguments: Sequence[str],
    prog: str,
    description: str = DESCRIPTION,
    *,
    single: bool = True,
    size: int | None = None,
    where: str = "",
) -> tuple[RunFlags, Recipe]:
    """Read the flags; return them, and the recipe with the changes that they make.

    With ``--from``, what is not given is as the picture's record says, which is in ``record``.
    Unless ``single``, flags that are for a single picture alone are refused. ``size`` is the
    longest side of the result by default; None: that of the recipe, else 512. ``where`` says in
    messages where the arguments stand, if not on the command line.

    Raises:
      SystemExit: With status 2 and a line on stderr if a flag cannot be used; with status 0
        after ``--help``, ``--version``, ``--tips``, ``--list-recipes`` and ``--show-recipe``.
    """
    first = first_parser(prog, where)
    for name in ("--seed", "--format", "--size", "--scales", "--style-size", "--style-scale"):
        first.add_argument(name)
    first.add_argument("--from", dest="origin")
    first.add_argument("-o", "--output")
    first.add_argument("--style-mix", action="append")
    chosen = first.parse_known_args(arguments)[0]
    record, recorded = None, list[str]()
    if single and chosen.origin:
        from jaxnst.cli.recording import changes_for, read_origin, recorded_flags, recorded_recipe

        try:
            record = read_origin(chosen.origin)
            by_record = chosen.recipe is None
            recipe = recorded_recipe(record, chosen) if by_record else chosen_recipe(first, chosen)
            recorded = recorded_flags(record, chosen, recipe)
        except (OSError, ValueError) as error:
            first.error(f"--from: {explain(error)}")
    else:
        recipe = chosen_recipe(first, chosen)
    parser = make_parser(prog, recipe, description, single, size)
    parser.where = where
    parser.set_defaults(record=record, seed_given=chosen.seed is not None, changes=())
    if record is not None:
        parser.set_defaults(recipe="")  # what a record calls its recipe is no file's name
        names = [name_of(s.name) for s in record.sources if s.role in ("content", "style")]
        parser.missing = f": give the same pictures again, {shlex.join(names)}"
    parsed = parser.read([*recorded, *arguments])
    start = recipe.init
    if record and chosen.recipe is None and start not in STARTS and not hasattr(parsed, "init"):
        parser.error(
            f"{name_of(parsed.origin)} was started from a picture: add --init {name_of(start)}"
        )
    given = given_options(options(recipe), parsed)
    try:
        recipe = replace_all(recipe, given)
    except ValueError as error:
        parser.error(str(error))
    if parsed.size is None and not recipe.scales.sides:
        parsed.size = size or (SIZE if recipe.scales.size is None else None)
    if record is not None:
        parsed.changes = changes_for(record, parsed, chosen, given)
    if single and not (parsed.output or parsed.dry_run):
        parsed.output = default_output([parsed.content, *parsed.styles])
    return read_fields(RunFlags, parsed), recipe


def default_output(sources: Sequence[str], ending: str = ".png") -> str:
    """Name a result after the pictures that it is made of.

    Example:
      >>> default_output(["photos/lion.jpg", "https://example.org/waves.png?key=5"])
      'lion-waves.png'
      >>> default_output(["photos/lion.jpg"], "-sheet.png")
      'lion-sheet.png'
    """
    paths = [urlsplit(source).path if is_address(source) else source for source in sources]
    stems = [Path(path).stem for path in paths if path != STREAM]
    return ("-".join(filter(None, stems)) or "picture") + ending


def first_parser(prog: str, where: str = "") -> Parser:
    """Make a parser of the flags that decide what the help calls default."""
    first = Parser(prog=prog, add_help=False, where=where)
    first.add_argument("--recipe")
    first.add_argument("--network", default="")
    return first


def chosen_recipe(first: Parser, chosen: argparse.Namespace) -> Recipe:
    """Return the recipe that ``--recipe`` names, else the default, for ``--network``."""
    name = "default" if chosen.recipe is None else chosen.recipe
    try:
        return recipe_on(find_recipe(name), chosen.network)
    except (KeyError, OSError, ValueError) as error:
        first.error(f"--recipe: {explain(error)}")


def find_recipe(name: str) -> Recipe:
    """Return a recipe by its name, or from a TOML file.

    Raises:
      KeyError: If there is none of that name.
      OSError: If the file cannot be read.
      ValueError: If it is not a recipe.
    """
    if name.lower().endswith(".toml"):
        return read_recipe(name, base=base_recipe)
    return get_recipe(name)


def given_options(
    known: Mapping[str, Option], parsed: argparse.Namespace
) -> dict[tuple[str, ...], Any]:
    """Return the options of a recipe that were given, by the path of each field."""
    return {
        path: getattr(parsed, option_name(flag))
        for flag, (path, _, _) in known.items()
        if hasattr(parsed, option_name(flag))
    }


def make_parser(
    prog: str, recipe: Recipe, description: str, single: bool, size: int | None
) -> Parser:
    """Make the parser of :func:`parse`, whose help has the defaults of a recipe."""
    parser = Parser(
        prog=prog,
        usage=f"{prog} CONTENT STYLE [STYLE ...] [-o OUT] [flags]",
        description=description,
        epilog="Exit status: 0 done; 1 a file or something else failed; 2 wrong flags; 130 stopped "
        "by Ctrl-C, " + ("with the picture so far saved." if single else "with nothing saved."),
    )
    scales = recipe.scales
    default = f"the recipe's, {scales.size} for the {scales.side} side" if scales.size else SIZE
    default = scales.sides[-1] if scales.sides else size or default
    texts = {
        "size": f"longest side of the result (default: {default})",
        "network": f"loss network (default: {recipe.network})",
    }
    if not single:
        texts["output"] = (
            "file to save the sheet to (default: CONTENT-STYLE-sheet.png in the current folder)"
        )
        for f in (f for part in SINGLE for f in dataclasses.fields(part)):
            parser.elsewhere[f.metadata["flag"]] = "only works with jaxnst run"
    add_flags(parser, RunFlags, without=() if single else SINGLE, help=texts)
    if single:
        parser.add_argument(
            "--tips",
            action=PrintAndExit,
            nargs=0,
            text=lambda _: TIPS,
            help="print what to try when a picture is not what you wanted, and exit",
        )
    group = add_recipe(parser, "method", recipe)
    width = max(map(len, RECIPES))
    group.add_argument(
        "--list-recipes",
        action=PrintAndExit,
        nargs=0,
        text=lambda _: "\n".join(f"{r.name:<{width}}  {r.summary}" for r in RECIPES.values()),
        help="list the recipes and exit",
    )
    group.add_argument(
        "--show-recipe",
        action=PrintAndExit,
        text=lambda name: format_recipe(find_recipe(name)),
        metavar="NAME",
        help="print a recipe as a TOML file, with all its settings, and exit",
    )
    add_options(group, options(recipe))
    return parser


def add_recipe(
    parser: Parser, title: str, recipe: Recipe, *, more: str = ""
) -> argparse._ArgumentGroup:
    """Add a group of flags, the first of which chooses the recipe that the others change."""
    group = parser.add_argument_group(f"{title} (defaults are those of the recipe {recipe.name!r})")
    group.add_argument(
        "--recipe",
        default=recipe.name,
        metavar="NAME",
        help=f"recipe{more}: a TOML file, or one of {', '.join(RECIPES)}",
    )
    return group


def add_options(group: argparse._ArgumentGroup, known: Mapping[str, Option]) -> None:
    """Add the flags of a recipe's options, which are absent unless given."""
    for _, field, value in known.values():
        add_field(group, field, value)
