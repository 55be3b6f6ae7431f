"""``jaxnst sweep``: a picture painted with every combination of a few values, on a labeled sheet.

Size is 192 pixels unless chosen, so that many variations take a minute or two; a picture of the
usual size is then made by the command that is printed for every cell.
"""

import itertools
import re
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_origin

from jaxnst.cli.errors import UsageError, guarded
from jaxnst.cli.inputs import check_flags, distinct_names, read_pictures, report_flags, report_sizes
from jaxnst.cli.interrupt import exit_when_stopped, finishing, stoppable
from jaxnst.cli.messages import Messages, length, quiet_xla, shape
from jaxnst.cli.outputs import report_replacing, save_options, save_picture
from jaxnst.cli.parser import RunFlags, default_output, make_parser, own_flags, parse, program_of
from jaxnst.cli.progress import ProgressBar
from jaxnst.image.color import Pixels
from jaxnst.image.record import Record
from jaxnst.recipes.schema import RANDOM_STARTS, STARTS, Recipe

if TYPE_CHECKING:
    from jaxnst.cli.job import Job
    from jaxnst.transfer.batch import BatchProgress

SWEPT = own_flags("network", "precision")
"""Flags that take several values here, with the types of their values."""

STYLE = "style"
"""What several styles are called among the flags that vary."""

ROLES = ("--style-mix", "--mask", "--style-mask")
"""Flags that say what each of several styles is for: with one of them, styles are mixed."""

SIZE = 192
MOST = 256
COLUMNS = 6

DESCRIPTION = (
    "Paint a picture in many variations, on one labeled sheet, and print the command that makes "
    "each of them at full size. Flags of the method take several values: --style-weight 1,3,10, "
    "--seed 0..3, --colors style,linear. If a value itself has commas, repeat the flag: "
    "--content-layers relu3_1 --content-layers relu3_1,relu4_2. Each of several styles gives "
    "variations of its own, unless --style-mix, --mask or --style-mask combines them."
)


@dataclass(frozen=True)
class Cell:
    """One variation: what varies, a flag or STYLE, each with its value, for a style its name."""

    values: tuple[tuple[str, str], ...]
    flags: RunFlags
    recipe: Recipe

    def __str__(self) -> str:
        return ", ".join(f"{flag.removeprefix('--')} {value}" for flag, value in self.values)


@dataclass(frozen=True)
class Sweep:
    """All variations, in the order of the sheet.

    Its columns are all values of the further flags, or some of a single one. ``common`` has the
    flags that do not vary, each with its words on the command line.
    """

    cells: list[Cell]
    columns: int
    common: list[tuple[str, list[str]]]


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    debug = "--debug" in arguments
    return guarded(prog, lambda: _run(_read(arguments, prog), prog), debug=debug)


def _read(arguments: Sequence[str], prog: str) -> Sweep:
    parts = make_parser(prog, Recipe(), DESCRIPTION, False, SIZE).split(arguments)
    pictures = [value for flag, value, _ in parts if not flag]
    axes, common = _axes([part for part in parts if part[0]])
    if len(pictures) > 2 and not any(flag in ROLES for flag, _, _ in parts):
        pictures, styles = pictures[:1], pictures[1:]
        axes.insert(0, (STYLE, styles))
    if twice := [flag for flag, values in axes if len(set(values)) < len(values)]:
        raise UsageError(f"{twice[0]} has the same value twice: give each value once")
    pairs = [[(flag, value) for value in values] for flag, values in axes]
    combinations = list(itertools.islice(itertools.product(*pairs), MOST + 1))
    if len(combinations) > MOST:
        raise UsageError(f"these are more than {MOST} variations: give fewer values")
    cells, fixed = [], [word for _, words in common for word in words]
    name = default_output(pictures, "-sheet.png")
    names = distinct_names(dict(axes).get(STYLE, ()))
    for values in combinations:
        varying = [f"{flag}={value}" for flag, value in values if flag != STYLE]
        style = [value for flag, value in values if flag == STYLE]
        cell_arguments = [*varying, *fixed, *pictures, *style]
        flags, recipe = parse(cell_arguments, prog, DESCRIPTION, single=False, size=SIZE)
        named = tuple((flag, names.get(v, v) if flag == STYLE else v) for flag, v in values)
        cells.append(Cell(named, replace(flags, output=flags.output or name), recipe))
    if not axes:
        raise UsageError(
            "nothing varies: give a flag several values (--style-weight 1,3,10), or several styles"
        )
    columns = len(cells) // len(axes[0][1]) if len(axes) > 1 else min(COLUMNS, len(cells))
    return Sweep(cells, columns, common)


def _axes(
    parts: Sequence[tuple[str, str, list[str]]],
) -> tuple[list[tuple[str, list[str]]], list[tuple[str, list[str]]]]:
    """Separate the flags that have several values from the others.

    A flag has several if it is repeated. If its values have no commas, they may be listed, too.
    """

    def name(flag: str, value: str) -> tuple[str, str]:
        # Mixtures for several layers belong to one picture.
        return flag, value.rpartition(":")[0] if flag == "--style-mix" else ""

    count = Counter(name(flag, value) for flag, value, _ in parts)
    axes: dict[tuple[str, str], list[str]] = {}
    common = []
    for flag, value, words in parts:
        if flag not in SWEPT:
            common.append((flag, words))
            continue
        if value == "":
            raise UsageError(f"{flag}: expected a value, or several: 1,3,10")
        values = [value] if get_origin(SWEPT[flag]) in (tuple, list) else [*_values(flag, value)]
        key = name(flag, value)
        if count[key] > 1 and len(values) > 1:
            raise UsageError(f"{flag}: give it once, with all its values")
        if count[key] > 1 or len(values) > 1:
            axes.setdefault(key, []).extend(values)
        else:
            common.append((flag, words))
    return [(flag, values) for (flag, _), values in axes.items()], common


def _values(flag: str, text: str) -> Iterator[str]:
    """Read ``1,3,10`` and ``0..3``, or both mixed."""
    for part in text.split(","):
        first, dots, last = part.partition("..")
        if not dots or SWEPT[flag] not in (int, float):
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
    flags = sweep.cells[0].flags
    if flags.output == "-":
        raise UsageError("-o -: a sheet cannot go to standard output: give a file name")
    if any(cell.recipe.init not in STARTS for cell in sweep.cells):
        raise UsageError(f"--init: a sweep starts from {', '.join(STARTS)}, not from a picture")
    _refuse_twins(sweep)
    messages = Messages(prog, quiet=flags.quiet, json=flags.json)
    with messages.warnings_as_notices():
        jobs = _jobs(sweep, messages)
        report_replacing([flags.output], flags, messages)
        with exit_when_stopped(messages, ", nothing is saved"):
            sheet = stoppable(lambda: _paint(sweep, jobs, messages))
    with finishing():
        from jaxnst.cli.recording import record_to_write

        record = record_to_write(flags, flags.output, lambda: _record(sweep, jobs), messages)
        save_picture(flags.output, sheet, record=record, **save_options(flags))
    for cell in sweep.cells:
        messages.info(f"{cell}: {_command(sweep, cell)}")
    messages.saved(flags.output)
    return 0


def _refuse_twins(sweep: Sweep) -> None:
    """Refuse variations that would be the same picture."""
    seen: dict[object, Cell] = {}
    for cell in sweep.cells:
        flags, recipe = cell.flags, cell.recipe
        random = recipe.init in RANDOM_STARTS
        picture = program_of(flags, recipe), *flags.styles, recipe, flags.seed if random else None
        other = seen.setdefault(picture, cell)
        if other is not cell:
            why = "leave one out"
            if not random and "--seed" in dict(cell.values):
                starts = " or ".join(f"--init {start}" for start in RANDOM_STARTS)
                why = f"--seed has no effect on a start from {recipe.init}, add {starts}"
            raise UsageError(f"{other} and {cell} are the same picture: {why}")


def _jobs(sweep: Sweep, messages: Messages) -> "list[Job]":
    """Check all variations, read pictures, load networks, and settle what fits into memory.

    Raises:
      UsageError: Flags contradict each other, or ask for what does not exist.
      OSError: A file cannot be read or written.
      ValueError: A file is not a picture or not a network, or a variation does not fit into memory.
    """
    first, styles = sweep.cells[0], _styles_of(sweep)
    for cell in sweep.cells:
        check_flags(cell.flags, cell.recipe)
        report_flags(cell.flags, cell.recipe, messages)
    whole = read_pictures(replace(first.flags, styles=styles), first.recipe)
    loaded = dict(zip(styles, whole.styles, strict=True))
    pictures = [
        replace(whole, styles=[loaded[style] for style in cell.flags.styles])
        for cell in sweep.cells
    ]
    for cell, shown in zip(sweep.cells, pictures, strict=True):
        report_sizes(cell.flags, cell.recipe, shown, messages)
    quiet_xla(debug=first.flags.debug)

    from jaxnst.cli.fitting import settle
    from jaxnst.cli.job import Job, make_job, report_method
    from jaxnst.networks import LossNetwork

    settled: dict[str, Job] = {}
    networks: dict[LossNetwork, LossNetwork] = {}  # each is in memory once
    jobs = []
    for cell, shown in zip(sweep.cells, pictures, strict=True):
        flags, recipe = cell.flags, cell.recipe
        program = program_of(flags, recipe)
        if program not in settled:
            job = make_job(flags, recipe, shown)
            job = replace(job, network=networks.setdefault(job.network, job.network))
            settled[program], refusal = settle(job, messages)
            if refusal is not None:
                raise refusal
        job = settled[program]
        scales = replace(recipe.scales, sides=job.recipe.scales.sides)
        solver = replace(recipe.solver, memory=job.recipe.solver.memory)
        jobs.append(
            replace(
                job,
                flags=replace(flags, size=job.flags.size),
                recipe=replace(recipe, scales=scales, solver=solver),
                pictures=shown,
            )
        )
        report_method(recipe, job.network, messages)
    return jobs


def _styles_of(sweep: Sweep) -> list[str]:
    return [*dict.fromkeys(style for cell in sweep.cells for style in cell.flags.styles)]


def _paint(sweep: Sweep, jobs: "list[Job]", messages: Messages) -> Pixels:
    """Paint all variations, those of one program side by side, and return the sheet.

    Raises:
      UsageError: The sheet would be too large.
    """
    from jaxnst.report.contact_sheet import LONGEST, contact_sheet
    from jaxnst.transfer.batch import stylize_batch
    from jaxnst.transfer.style_cache import StyleCache

    bar, store, count = ProgressBar(messages), StyleCache(), len(jobs)
    schedules = [job.plan().schedule for job in jobs]
    sizes = [schedule.size for schedule in schedules]
    height = max(height for height, _ in sizes)
    width = max(round(width * height / own) for own, width in sizes)
    sides = width * sweep.columns, height * -(-count // sweep.columns)
    if max(sides) > LONGEST:
        raise UsageError(
            f"the sheet would have {sides[0]}x{sides[1]} pixels, at most {LONGEST} are made: "
            "give a smaller --size, or fewer values"
        )
    evaluations = [sum(scale.evaluations for scale in schedule.scales) for schedule in schedules]
    done, total = 0, sum(evaluations)
    largest = jobs[sizes.index(max(sizes))]
    several = "the largest of " if len(set(sizes)) > 1 else ""
    headline = replace(largest, flags=replace(largest.flags, styles=_styles_of(sweep))).headline
    messages.info(headline(f"{several}{count} variations, "))

    def report(now: "BatchProgress") -> None:
        bar.update((done + now.done) / total, f"{done + now.done}/{total} evaluations")

    programs: dict[str, list[int]] = {}
    for i, job in enumerate(jobs):
        programs.setdefault(program_of(job.flags, job.recipe), []).append(i)
    images: dict[int, Pixels] = {}
    begin = time.perf_counter()
    with closing(bar):
        for members in programs.values():
            of_program, job = [jobs[i] for i in members], jobs[members[0]]
            options = job.options | {"seed": [job.flags.seed for job in of_program]}
            options |= {name: [options[name]] * len(members) for name in ("masks", "style_masks")}
            del options["init"]  # a start of the recipe, not a picture
            results = stylize_batch(
                [job.pictures.content] * len(members),
                [job.pictures.styles for job in of_program],
                network=job.network,
                recipe=[job.recipe for job in of_program],
                at_once=job.at_once(),
                store=store,
                callback=report,
                **options,
            )
            images.update((i, result.image) for i, result in zip(members, results, strict=True))
            done += sum(evaluations[i] for i in members)
    messages.info(f"{count} variations in {length(time.perf_counter() - begin)}")
    labeled = [(text.replace(", ", "\n"), images[i]) for i, text in enumerate(_labels(sweep, jobs))]
    rows = [labeled[i : i + sweep.columns] for i in range(0, count, sweep.columns)]
    return contact_sheet(rows, height=height)


def _labels(sweep: Sweep, jobs: "list[Job]") -> list[str]:
    """Name all variations, with their sizes in pixels if those differ."""
    sizes = [shape(job.plan().schedule.size) for job in jobs]
    differ = len(set(sizes)) > 1
    return [
        f"{cell}, {size}" if differ else str(cell)
        for cell, size in zip(sweep.cells, sizes, strict=True)
    ]


def _record(sweep: Sweep, jobs: "list[Job]") -> Record:
    """Describe how the sheet is made: its first cell, all pictures, and the values of all."""
    record, cells = jobs[0].record(), tuple(_labels(sweep, jobs))
    return replace(record, arguments={**record.arguments, "command": "sweep", "cells": cells})


def _command(sweep: Sweep, cell: Cell) -> str:
    """Write the command that makes a cell at the usual size."""
    left_out = ("--output", "--size", "--scales")
    others = [words for flag, words in sweep.common if flag not in left_out]
    stem, _, ending = cell.flags.output.rpartition(".")
    values = [str(Path(v).with_suffix("")) if flag == STYLE else v for flag, v in cell.values]
    name = "-".join([stem, *(re.sub(r"[^\w.+-]+", "_", value) for value in values)])
    pictures = [cell.flags.content, *cell.flags.styles]
    flags = itertools.chain(*((flag, value) for flag, value in cell.values if flag != STYLE))
    words = [*pictures, *flags, *itertools.chain(*others), "-o", f"{name}.{ending}"]
    return shlex.join(["jaxnst-run", *words])
