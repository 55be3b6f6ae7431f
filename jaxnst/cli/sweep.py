"""``jaxnst sweep``: one pair in many variations, side by side in one program, on one sheet.

A cell of the sheet is a run like any other: its flags are those of ``jaxnst run``, which is what
every cell's command says.
"""

import dataclasses
import itertools
import shlex
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from jaxnst.cli.errors import UsageError, guarded
from jaxnst.cli.interrupt import finishing, leaving_when_stopped, stoppable
from jaxnst.cli.messages import Messages, hush_xla, length, print_path, shape
from jaxnst.cli.outputs import save_options, save_picture, tell_of_replacing
from jaxnst.cli.parser import RunFlags, parse, refuse_single
from jaxnst.image.color import Pixels
from jaxnst.recipes.schema import RANDOM_STARTS, STARTS, Recipe

if TYPE_CHECKING:
    from jaxnst.cli.job import Job
    from jaxnst.transfer.batch import BatchProgress

SWEPT = ("--content-weight", "--style-weight", "--tv-weight", "--learning-rate", "--seed")
"""Flags that take several values here."""

SIZE = 192
MOST = 256
COLUMNS = 6

DESCRIPTION = (
    "Paint one pair in many variations, on one labelled sheet, and say the command that makes each "
    f"of them large. {', '.join(SWEPT[:-1])} and {SWEPT[-1]} take several values: 1,3,10 or 0..3."
)

Axis = tuple[str, tuple[str, ...]]
Cell = tuple[tuple[str, str], ...]


class Sweep(NamedTuple):
    """All cells with the flags and the recipe of each.

    Attributes:
      axes: Flags with their values, in the order given.
      common: All other arguments.
      cells: A value of every axis each.
      flags: Of every cell.
      recipes: Of every cell.
    """

    axes: list[Axis]
    common: list[str]
    cells: list[Cell]
    flags: list[RunFlags]
    recipes: list[Recipe]


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    debug = "--debug" in arguments
    return guarded(prog, lambda: _run(_read(arguments, prog), prog), debug=debug)


def _read(arguments: Sequence[str], prog: str) -> Sweep:
    axes, common = _axes(list(arguments))
    given = [flag for flag, _ in axes] + [a for a in common if a in SWEPT]
    if twice := [flag for flag in given if given.count(flag) > 1]:
        raise UsageError(f"{twice[0]}: give it once, with all its values")
    if twice := [flag for flag, values in axes if len(set(values)) < len(values)]:
        raise UsageError(f"{twice[0]} has a value twice")
    columns = [[(flag, value) for value in values] for flag, values in axes]
    cells = list(itertools.islice(itertools.product(*columns), MOST + 1))
    if len(cells) > MOST:
        raise UsageError(f"these are more than {MOST} variations: give fewer values")
    # A cell's flags first: what follows a "--" would be taken for pictures.
    read = [
        parse([*itertools.chain(*cell), *common], prog, DESCRIPTION, single=False, size=SIZE)
        for cell in cells
    ]
    if not axes:
        raise UsageError(f"nothing varies: give one of {', '.join(SWEPT)} several values (1,3,10)")
    return Sweep(axes, common, cells, [flags for flags, _ in read], [recipe for _, recipe in read])


def _axes(arguments: list[str]) -> tuple[list[Axis], list[str]]:
    """Take out the flags that have several values."""
    axes: list[Axis] = []
    common: list[str] = []
    left = iter(arguments)
    for argument in left:
        flag, equals, value = argument.partition("=")
        if flag in SWEPT:
            if not equals and (value := next(left, "")) == "":
                raise UsageError(f"{flag}: expected a value, or several: 1,3,10")
            if "," in value or ".." in value:
                axes.append((flag, tuple(_values(flag, value))))
            else:
                common += [flag, value]
        else:
            common.append(argument)
    return axes, common


def _values(flag: str, text: str) -> Iterator[str]:
    """Read ``1,3,10`` and ``0..3``, or both mixed."""
    for part in text.split(","):
        first, dots, last = part.partition("..")
        if not dots:
            yield part
            continue
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise UsageError(f"{flag}: {part!r} is no range, expected whole numbers such as 0..3")
        if int(last) - int(first) >= MOST:
            raise UsageError(f"{flag}: {part} has more than {MOST} values")
        yield from map(str, range(int(first), int(last) + 1))


def _run(sweep: Sweep, prog: str) -> int:
    from jaxnst.cli.inputs import check_flags, read_pictures, tell_of_flags, tell_of_sizes

    flags, recipe = sweep.flags[0], sweep.recipes[0]
    refuse_single(flags)
    if flags.output == "-":
        raise UsageError("-o: a sheet takes a name")
    if recipe.init not in STARTS:
        raise UsageError(f"--init: a sweep starts from {', '.join(STARTS)}, not from a picture")
    _refuse_twins(sweep)
    check_flags(flags, recipe)
    messages = Messages(prog, quiet=flags.quiet)
    tell_of_flags(flags, recipe, messages)
    tell_of_replacing(flags.output, flags, messages)
    with messages.warnings_as_notices():
        pictures = read_pictures(flags, recipe)
        tell_of_sizes(flags, recipe, pictures, messages)

        hush_xla(debug=flags.debug)

        from jaxnst.cli.fitting import settle
        from jaxnst.cli.job import make_job, tell_of_method

        job, refusal = settle(make_job(flags, recipe, pictures), messages)
        if refusal is not None:
            raise refusal
        tell_of_method(job.recipe, job.network, messages)
        _refuse_large_sheet(sweep, job)
        with leaving_when_stopped(messages, ", nothing is saved"):
            sheet = stoppable(lambda: _paint(sweep, job, messages))
    with finishing():
        save_picture(flags.output, sheet, **save_options(flags))
    for cell in sweep.cells:
        messages.say(f"{_label(cell)}: {_command(sweep, cell)}")
    print_path(flags.output)
    return 0


def _refuse_twins(sweep: Sweep) -> None:
    """Refuse variations that would be the same picture."""
    seen: dict[tuple[Recipe, int | None], Cell] = {}
    for cell, flags, recipe in zip(sweep.cells, sweep.flags, sweep.recipes, strict=True):
        random = recipe.init in RANDOM_STARTS
        other = seen.setdefault((recipe, flags.seed if random else None), cell)
        if other is not cell:
            why = "leave one out"
            if not random and "--seed" in dict(cell):
                starts = " or ".join(f"--init {start}" for start in RANDOM_STARTS)
                why = f"--seed has no effect on a start from {recipe.init}, add {starts}"
            raise UsageError(f"{_label(other)} and {_label(cell)} are the same picture: {why}")


def _paint(sweep: Sweep, job: "Job", messages: Messages) -> Pixels:
    from jaxnst.report.contact_sheet import contact_sheet
    from jaxnst.transfer.batch import stylize_batch

    count, plan = len(sweep.cells), job.plan()
    messages.say(f"{count} variations at {shape(plan.schedule.size)}: {job}")
    begin = time.perf_counter()
    results = stylize_batch(
        [job.pictures.content] * count,
        [job.pictures.styles] * count,
        network=job.network,
        recipe=[dataclasses.replace(recipe, scales=job.recipe.scales) for recipe in sweep.recipes],
        size=job.flags.size,
        style_size=job.flags.style_size,
        style_mix=job.style_mix,
        masks=[job.pictures.masks] * count,
        style_masks=[job.pictures.style_masks] * count,
        seed=[flags.seed for flags in sweep.flags],
        at_once=job.at_once(),
        devices=job.devices,
        callback=partial(_tell, messages),
        remat=job.remat,
    )
    messages.say(f"{count} variations in {length(time.perf_counter() - begin)}")
    named = [
        (_label(cell).replace(", ", "\n"), result.image)
        for cell, result in zip(sweep.cells, results, strict=True)
    ]
    across = _across(sweep)
    rows = [named[i : i + across] for i in range(0, count, across)]
    return contact_sheet(rows, height=results[0].image.shape[0])


def _label(cell: Cell) -> str:
    return ", ".join(f"{flag.removeprefix('--')} {value}" for flag, value in cell)


def _command(sweep: Sweep, cell: Cell) -> str:
    """Write the command that makes a cell at the usual size."""
    output, sized = sweep.flags[0].output, []
    arguments = iter(sweep.common)
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        if flag in ("-o", "--output", "--size", "--scales"):
            if not equals:
                next(arguments, None)
        elif not flag.startswith("-o"):  # -oFILE
            sized.append(argument)
    stem, _, ending = output.rpartition(".")
    name = "-".join([stem, *(value for _, value in cell)])
    return shlex.join(["jaxnst-run", *itertools.chain(*cell), "-o", f"{name}.{ending}", *sized])


def _across(sweep: Sweep) -> int:
    """Count the cells of a row: all values of the further axes, or some of a single one."""
    return len(sweep.cells) // len(sweep.axes[0][1]) if len(sweep.axes) > 1 else COLUMNS


def _refuse_large_sheet(sweep: Sweep, job: "Job") -> None:
    from jaxnst.report.contact_sheet import LONGEST

    height, width = job.plan().schedule.size
    across = min(_across(sweep), len(sweep.cells))
    sides = width * across, height * -(-len(sweep.cells) // across)
    if max(sides) > LONGEST:
        raise UsageError(
            f"the sheet would have {sides[0]}x{sides[1]} pixels, at most {LONGEST} are made: "
            "give a smaller --size, or fewer values"
        )


def _tell(messages: Messages, progress: "BatchProgress") -> None:
    messages.now_and_then(
        f"{len(progress.pairs)} at once, scale {progress.scale + 1}/{progress.scales}: "
        f"{progress.done}/{progress.total} evaluations"
    )
