"""The record of a picture: written with a result, and read for the flags of another run.

A record gives defaults, the command line wins. It never names a file that is opened: pictures and
parameter files are given again, and compared by their digests.
"""

import argparse
import dataclasses
import os
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jaxnst._checks import counted
from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError
from jaxnst.cli.fetching import STREAM
from jaxnst.cli.flags import FileFlags
from jaxnst.cli.messages import Messages
from jaxnst.cli.option_types import SIZES
from jaxnst.cli.outputs import result_name
from jaxnst.image import ENDINGS, holds, read_record
from jaxnst.image.record import ROLES, Argument, Record, RecordedChange, Source, format_record
from jaxnst.recipes import is_approximation, recipe_on
from jaxnst.recipes.schema import STARTS, Recipe, keyword_paths, option_name

if TYPE_CHECKING:
    from jaxnst.cli.job import Job

RECORDED = ("--preprocessing", "--deterministic", "--bits", "--dpi", "--quality", "--style-mix")
"""Flags that are recorded as arguments: they decide the picture or its file, are no part of a
recipe and name no file."""

SIZES_AND_PRECISION = ("size", "style_size", "precision")
"""Flags that are fields of a record."""

FACTS = ("stopped-after",)
"""Recorded arguments that are no flags, and change nothing where the picture is repeated."""

STRONGER = 3
"""Times its weight, a style is plainly stronger."""

FITTED = ("bits", "quality")
"""Which of them are for some formats only."""


def read_origin(path: str) -> Record:
    """Read the record of the picture that ``--from`` names.

    Raises:
      OSError: It cannot be read.
      ValueError: It has no record, or one that cannot be read.
    """
    record = read_record(path)
    if record is None:
        raise ValueError(
            f"{name_of(path)} has no record of how it was made: it was not made by jaxnst, was "
            "made with --no-metadata, or was changed by another program"
        )
    return record


def recorded_recipe(record: Record, chosen: argparse.Namespace) -> Recipe:
    """Return a record's recipe for ``--network``, without the sizes that flags replace.

    ``chosen`` has ``origin``, ``network``, ``size`` and ``style_size`` of the command line.

    Raises:
      ValueError: It was adapted to another network.
    """
    recipe, network = _recipe(record), chosen.network or record.network
    if is_approximation(recipe) and network != record.network:
        raise ValueError(
            f"the recipe of {name_of(chosen.origin)} was adapted to {record.network} and does not "
            f"fit --network {network}: add --recipe"
        )
    scales = recipe.scales
    if chosen.size is not None and scales.sides:
        scales = dataclasses.replace(scales, sides=None)
    if chosen.style_size is not None:
        scales = dataclasses.replace(scales, style_scale=1.0)
    return recipe_on(dataclasses.replace(recipe, scales=scales), network)


def recorded_flags(record: Record, chosen: argparse.Namespace, recipe: Recipe) -> list[str]:
    """Write a record as flags, to be put before those of the command line.

    ``chosen`` has ``recipe``, ``scales``, ``style_scale``, ``style_mix``, ``output`` and ``format``
    of the command line, and ``recipe`` is the recorded one or that of the command line. Another
    recipe has its own network, other scales have their own size, another mixture replaces the
    recorded one, and flags that are for other formats than that of the output are left out.

    Raises:
      ValueError: It has an argument that is unknown here.
    """
    other = None if chosen.recipe is None else recipe.scales
    sized = chosen.scales not in (None, "auto") or (other is not None and other.sides)
    style_sized = chosen.style_scale is not None or (
        other is not None and (other.style_scale != 1 or other.style_like_content)
    )
    size, sides = record.size, _recipe(record).scales.sides
    if sides and (other is not None or chosen.scales == "auto"):
        size = sides[-1]  # which it had by scales that are left out
    values: dict[str, Argument | None] = {
        "--network": record.network if chosen.recipe is None else None,
        "--size": None if sized else size,
        "--style-size": None if style_sized else record.style_size,
        "--seed": record.seed,
        "--precision": record.precision,
    }
    for name, value in record.arguments.items():
        if name in FACTS:
            continue
        if f"--{name}" not in RECORDED:
            raise ValueError(f"the record sets {name!a}, which this jaxnst does not know")
        values[f"--{name}"] = value
    if chosen.style_mix is not None:
        values["--style-mix"] = None
    name = result_name(chosen.output or "", chosen.format)
    if os.path.splitext(name)[1].lower() in ENDINGS:
        values |= {f"--{what}": None for what in FITTED if not holds(name, what)}
    return [text for flag, setting in values.items() for text in as_flags(flag, setting)]


def changes_for(
    record: Record,
    parsed: argparse.Namespace,
    chosen: argparse.Namespace,
    given: Collection[tuple[str, ...]],
) -> tuple[RecordedChange, ...]:
    """Return the changes of a recorded run for its repetition.

    They are the same at the same size with the same method. Otherwise there is a single one, at the
    beginning, to the final settings but for those that the command line gives. With other inputs no
    style or mask comes later.

    ``chosen`` has ``recipe`` and ``style_mix`` of the command line, and ``given`` the fields of the
    recipe that it sets.
    """
    changes = record.changes
    left_out = {*ROLES, "style_mix"} if parsed.other_inputs else set[str]()
    same_size = (record.size, record.style_size) == (parsed.size, parsed.style_size)
    if not same_size or given or (chosen.recipe, chosen.style_mix) != (None, None):
        paths = keyword_paths(record.recipe or Recipe())
        left_out |= {name for name, path in paths.items() if chosen.recipe or path in given}
        left_out |= {"style_mix"} if chosen.style_mix else set()
        changes = (RecordedChange(evaluation=0, options=record.final_options),)
    kept = [
        dataclasses.replace(
            change, options={k: v for k, v in change.options.items() if k not in left_out}
        )
        for change in changes
    ]
    return tuple(change for change in kept if change.options)


def as_flags(flag: str, value: Argument | None) -> list[str]:
    """Write a recorded value as its flag, which is repeated for several values.

    Example:
      >>> as_flags("--size", 512), as_flags("--style-mix", ("1,0", "2,3")), as_flags("--yes", False)
      (['--size=512'], ['--style-mix=1,0', '--style-mix=2,3'], [])
    """
    if value is True:
        return [flag]
    if not _is_set(value):
        return []
    # With "=", no value can be taken for another flag.
    return [f"{flag}={one}" for one in (value if isinstance(value, tuple) else (value,))]


def _recipe(record: Record) -> Recipe:
    """Return the recipe of a picture of ``jaxnst run`` or ``batch``.

    Raises:
      ValueError: Another command made the picture.
    """
    command = record.arguments.get("command", "")
    if record.recipe is None or command:
        raise ValueError(
            f"the picture was made by jaxnst {command}, and --from repeats only jaxnst run and "
            "batch: jaxnst show prints how it was made"
        )
    return record.recipe


def _is_set(value: Argument | None) -> bool:
    return value is not None and value is not False and value != ()


def refuse_other_inputs(record: Record, sources: tuple[Source, ...]) -> None:
    """Refuse files other than those that the recorded picture was made of.

    Raises:
      UsageError: One is another; the message names the first.
    """
    why = "--other-inputs allows other pictures"
    for was, now in zip(record.sources, sources, strict=False):
        if (was.role, was.sha256) != (now.role, now.sha256):
            raise UsageError(
                f"--from: its {was.role} was {name_of(was.name)} (SHA-256 {was.sha256[:12]}...), "
                f"{name_of(now.name)} is a different file: {why}"
            )
    for was in record.sources[len(sources) :]:
        raise UsageError(
            f"--from: its {was.role} {name_of(was.name)} is missing: give it again; {why}"
        )
    if len(record.sources) < len(sources):
        now = sources[len(record.sources)]
        raise UsageError(f"--from: it had no {now.role} {name_of(now.name)}: {why}")


def as_recorded(job: "Job", record: Record, messages: Messages) -> "Job":
    """Return a job as its record has it, and give notice of what may change the picture."""
    here = job.record()
    changes = job.flags.changes
    if changes and changes[-1].evaluation == 0 < record.changes[-1].evaluation:
        messages.notice(
            f"it was changed {counted(len(record.changes), 'time')} while it was painted: at "
            "another size or with other settings, the last settings hold from the beginning"
        )
    for what, was, now in (("jaxnst", record.jaxnst, here.jaxnst), ("JAX", record.jax, here.jax)):
        if was != now:
            messages.notice(f"made by {what} {was}, this is {now}: the picture may differ")
    if record.platform != here.platform:
        messages.notice(
            f"made on a {record.platform}, this is a {here.platform}: the picture may differ"
        )
    if record.threads and here.threads and record.threads != here.threads:
        messages.notice(
            f"made on {counted(record.threads, 'thread')} of a CPU, this is {here.threads}: the "
            f"picture may differ (PJRT_NPROC={record.threads} in the environment sets their number)"
        )
    if (record.network, record.network_sha256) != (here.network, here.network_sha256):
        messages.notice(
            f"made with other parameters of {record.network} (SHA-256 "
            f"{record.network_sha256[:12]}..., here {here.network} of "
            f"{here.network_sha256[:12]}...): the picture will differ"
        )
    same_size = (record.size, record.style_size) == (job.flags.size, job.flags.style_size)
    tile = record.tile if job.flags.tile == "auto" else None
    saved = job.remat or job.tile is not None
    if saved or not same_size or not (record.remat or tile is not None):
        return job
    return dataclasses.replace(job, remat=record.remat, tile=tile, loop=None)


def record_of(
    flags: FileFlags,
    network: str,
    network_sha256: str,
    sources: tuple[Source, ...],
    arguments: Mapping[str, Argument] = MappingProxyType({}),
    **facts: Any,
) -> Record:
    """Describe how a picture is made by the network of that name and digest.

    The flags in :data:`RECORDED` that the command has become arguments, and so do the further
    controls in ``arguments``; ``facts`` has further fields of the record.
    """
    values: dict[str, Any] = {name: getattr(flags, option_name(name), None) for name in RECORDED}
    values["--style-mix"] = tuple(
        f"{layer}:{','.join(map(str, weights))}".removeprefix(":")
        for layer, weights in values["--style-mix"] or ()
    )
    recorded = {name[2:]: value for name, value in values.items() if _is_set(value)}
    facts = {name: getattr(flags, name, None) for name in SIZES_AND_PRECISION} | facts
    return Record(
        network=network,
        network_sha256=network_sha256,
        sources=sources,
        arguments=recorded | dict(arguments),
        **{"recipe": None} | facts,
    )


def record_to_write(
    flags: FileFlags, output: str, record: Callable[[], Record], messages: Messages
) -> Record | None:
    """Return the record for a picture's file; None if it holds none, or is to hold none.

    There is a notice if it cannot be made, or is too long.
    """
    if flags.no_metadata or not output or not holds(output, "record"):
        return None
    try:
        made = record()
        format_record(made)
    except (OSError, ValueError) as error:
        messages.notice(f"the picture will have no record of how it was made: {error}")
        return None
    return made


def suggestions(job: "Job", record: Record, size: tuple[int, int], prog: str) -> Iterator[str]:
    """Write commands that change a picture of ``jaxnst run``: a stronger style, a larger result."""
    flags, recipe = job.flags, job.recipe
    files = [flags.content, *flags.styles]
    starts = [] if recipe.init in STARTS else [recipe.init]
    several = ("mask", flags.mask), ("style-mask", flags.style_mask), ("change", flags.change)
    for flag, paths in (("init", starts), *several):
        files += [word for path in paths for word in (f"--{flag}", path)]
    if STREAM in (flags.output, *files) or record.recipe is None:
        return
    if flags.weights:
        files += ["--weights", flags.weights]
    if flags.device:
        kind, index = flags.device
        files += ["--device", kind if index is None else f"{kind}:{index}"]
    stem, ending = os.path.splitext(flags.output)
    longest, weight = max(job.pictures.content.shape[:2]), recipe.style.weight
    changes = []
    if weight > 0:
        changes.append(("stronger style", "stronger", "--style-weight", f"{STRONGER * weight:g}"))
    if (larger := min(SIZES[1], longest, 2 * max(size))) > max(size):
        changes.append(("larger", str(larger), "--size", str(larger)))
    for what, word, *change in changes:
        command = [*prog.split(), "--from", flags.output, *files, *change]
        yield f"{what}: {shlex.join([*command, '-o', f'{stem}-{word}{ending}'])}"
