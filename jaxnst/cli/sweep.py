"""``jaxnst sweep``: one pair painted with every combination of a few values, on one labelled sheet.

Size is 192 pixels unless chosen, so that many variations take a minute or two; a picture of the
usual size is then made by the command that is printed for every cell.
"""

import itertools
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jaxnst.cli.errors import UsageError, guarded
from jaxnst.cli.interrupt import exit_when_stopped, finishing, stoppable
from jaxnst.cli.messages import Messages, length
from jaxnst.cli.outputs import report_replacing, save_options, save_picture
from jaxnst.cli.parser import RunFlags, default_output, parse
from jaxnst.cli.progress import ProgressBar
from jaxnst.cli.run import prepare
from jaxnst.image.color import Pixels
from jaxnst.image.record import Record
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
    "Paint one pair of pictures in many variations, on one labeled sheet, and print the command "
    f"that paints each of them large. {', '.join(SWEPT[:-1])} and {SWEPT[-1]} take several values: "
    "1,3,10 or 0..3."
)


@dataclass(frozen=True)
class Cell:
    """One variation.

    Attributes:
      values: Flags that vary, each with its value.
      flags: All flags.
      recipe: With the values.
    """

    values: tuple[tuple[str, str], ...]
    flags: RunFlags
    recipe: Recipe

    def __str__(self) -> str:
        return ", ".join(f"{flag.removeprefix('--')} {value}" for flag, value in self.values)


@dataclass(frozen=True)
class Sweep:
    """All variations.

    Attributes:
      cells: In the order of the sheet.
      columns: Of the sheet: all values of the further flags, or some of a single one.
      common: Arguments that do not vary.
    """

    cells: list[Cell]
    columns: int
    common: list[str]


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    debug = "--debug" in arguments
    return guarded(prog, lambda: _run(_read(arguments, prog), prog), debug=debug)


def _read(arguments: Sequence[str], prog: str) -> Sweep:
    axes, common = _axes(arguments)
    names = [flag for flag, _ in axes] + [a for a in common if a in SWEPT]
    if twice := [flag for flag in names if names.count(flag) > 1]:
        raise UsageError(f"{twice[0]}: give it once, with all its values")
    if twice := [flag for flag, values in axes if len(set(values)) < len(values)]:
        raise UsageError(f"{twice[0]} has a value twice")
    pairs = [[(flag, value) for value in values] for flag, values in axes]
    combinations = list(itertools.islice(itertools.product(*pairs), MOST + 1))
    if len(combinations) > MOST:
        raise UsageError(f"these are more than {MOST} variations: give fewer values")
    cells = []
    for values in combinations:
        # These flags first: what follows a "--" would be parsed as pictures.
        cell_arguments = [*itertools.chain(*values), *common]
        flags, recipe = parse(cell_arguments, prog, DESCRIPTION, single=False, size=SIZE)
        name = default_output([flags.content, *flags.styles], "-sheet.png")
        cells.append(Cell(values, replace(flags, output=flags.output or name), recipe))
    if not axes:
        raise UsageError(f"nothing varies: give one of {', '.join(SWEPT)} several values (1,3,10)")
    columns = len(cells) // len(axes[0][1]) if len(axes) > 1 else min(COLUMNS, len(cells))
    return Sweep(cells, columns, common)


def _axes(arguments: Sequence[str]) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Separate the flags that have several values from the other arguments."""
    axes: list[tuple[str, list[str]]] = []
    common: list[str] = []
    left = iter(arguments)
    for argument in left:
        flag, equals, value = argument.partition("=")
        if flag not in SWEPT:
            common.append(argument)
            continue
        if not equals and (value := next(left, "")) == "":
            raise UsageError(f"{flag}: expected a value, or several: 1,3,10")
        if "," in value or ".." in value:
            axes.append((flag, list(_values(flag, value))))
        else:
            common += [flag, value]
    return axes, common


def _values(flag: str, text: str) -> Iterator[str]:
    """Read ``1,3,10`` and ``0..3``, or both mixed."""
    for part in text.split(","):
        first, dots, last = part.partition("..")
        if not dots:
            yield part
            continue
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise UsageError(
                f"{flag}: {part!r} is not a range, expected whole numbers such as 0..3"
            )
        if int(last) - int(first) >= MOST:
            raise UsageError(f"{flag}: {part} has more than {MOST} values")
        yield from map(str, range(int(first), int(last) + 1))


def _run(sweep: Sweep, prog: str) -> int:
    flags, recipe = sweep.cells[0].flags, sweep.cells[0].recipe
    if flags.output == "-":
        raise UsageError("-o: a sheet takes a name")
    if recipe.init not in STARTS:
        raise UsageError(f"--init: a sweep starts from {', '.join(STARTS)}, not from a picture")
    _refuse_twins(sweep)
    messages = Messages(prog, quiet=flags.quiet, json=flags.json)
    with messages.warnings_as_notices():
        job = prepare(flags, recipe, messages)

        from jaxnst.cli.fitting import settle
        from jaxnst.cli.job import report_method

        job, refusal = settle(job, messages)
        if refusal is not None:
            raise refusal
        report_replacing([flags.output], flags, messages)
        report_method(job.recipe, job.network, messages)
        with exit_when_stopped(messages, ", nothing is saved"):
            sheet = stoppable(lambda: _paint(sweep, job, messages))
    with finishing():
        from jaxnst.cli.recording import record_to_write

        record = record_to_write(flags, flags.output, lambda: _record(sweep, job), messages)
        save_picture(flags.output, sheet, record=record, **save_options(flags))
    for cell in sweep.cells:
        messages.info(f"{cell}: {_command(sweep, cell)}")
    messages.saved(flags.output)
    return 0


def _refuse_twins(sweep: Sweep) -> None:
    """Refuse variations that would be the same picture."""
    seen: dict[tuple[Recipe, int | None], Cell] = {}
    for cell in sweep.cells:
        random = cell.recipe.init in RANDOM_STARTS
        other = seen.setdefault((cell.recipe, cell.flags.seed if random else None), cell)
        if other is not cell:
            why = "leave one out"
            if not random and "--seed" in dict(cell.values):
                starts = " or ".join(f"--init {start}" for start in RANDOM_STARTS)
                why = f"--seed has no effect on a start from {cell.recipe.init}, add {starts}"
            raise UsageError(f"{other} and {cell} are the same picture: {why}")


def _paint(sweep: Sweep, job: "Job", messages: Messages) -> Pixels:
    """Paint all variations side by side, and return the sheet.

    Raises:
      UsageError: The sheet would be too large.
    """
    from jaxnst.report.contact_sheet import LONGEST, contact_sheet
    from jaxnst.transfer.batch import stylize_batch

    bar = ProgressBar(messages)

    def report(now: "BatchProgress") -> None:
        bar.update(now.done / now.total, f"{now.done}/{now.total} evaluations")

    count, pictures, (height, width) = len(sweep.cells), job.pictures, job.plan().schedule.size
    sides = width * sweep.columns, height * -(-count // sweep.columns)
    if max(sides) > LONGEST:
        raise UsageError(
            f"the sheet would have {sides[0]}x{sides[1]} pixels, at most {LONGEST} are made: "
            "give a smaller --size, or fewer values"
        )
    messages.info(job.headline(f"{count} variations, "))
    begin = time.perf_counter()
    with closing(bar):
        results = stylize_batch(
            [pictures.content] * count,
            [pictures.styles] * count,
            network=job.network,
            recipe=[replace(cell.recipe, scales=job.recipe.scales) for cell in sweep.cells],
            size=job.flags.size,
            style_size=job.flags.style_size,
            style_mix=job.style_mix,
            masks=[pictures.masks] * count,
            style_masks=[pictures.style_masks] * count,
            seed=[cell.flags.seed for cell in sweep.cells],
            at_once=job.at_once(),
            devices=job.devices,
            callback=report,
            remat=job.remat,
            tile=job.tile,
        )
    messages.info(f"{count} variations in {length(time.perf_counter() - begin)}")
    labelled = [
        (str(cell).replace(", ", "\n"), result.image)
        for cell, result in zip(sweep.cells, results, strict=True)
    ]
    rows = [labelled[i : i + sweep.columns] for i in range(0, count, sweep.columns)]
    return contact_sheet(rows, height=results[0].image.shape[0])


def _record(sweep: Sweep, job: "Job") -> Record:
    """Describe how the sheet is made: its first cell, and the values of all."""
    record = job.record()
    cells = tuple(map(str, sweep.cells))
    return replace(record, arguments={**record.arguments, "command": "sweep", "cells": cells})


def _command(sweep: Sweep, cell: Cell) -> str:
    """Write the command that makes a cell at the usual size."""
    others = []
    arguments = iter(sweep.common)
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        if flag in ("-o", "--output", "--size", "--scales"):
            if not equals:
                next(arguments, None)
        elif not flag.startswith("-o"):  # -oFILE
            others.append(argument)
    stem, _, ending = cell.flags.output.rpartition(".")
    name = "-".join([stem, *(value for _, value in cell.values)])
    values = itertools.chain(*cell.values)
    return shlex.join(["jaxnst-run", *values, "-o", f"{name}.{ending}", *others])
