"""The record of a picture: written with a result, and read for the flags of another run.

A record gives defaults, the command line wins. It never names a file that is opened: pictures and
parameter files are given again, and compared by their digests.
"""

import argparse
import dataclasses
import os
from typing import TYPE_CHECKING

from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError
from jaxnst.cli.messages import Messages
from jaxnst.cli.outputs import result_name
from jaxnst.image import ENDINGS, holds_16_bits, holds_quality, holds_record, read_record
from jaxnst.image.record import Argument, Record, Source, format_record, parameters_sha256
from jaxnst.recipes import is_approximation, recipe_on
from jaxnst.recipes.schema import Recipe

if TYPE_CHECKING:
    from jaxnst.cli.job import Job

RECORDED = ("--preprocessing", "--deterministic", "--bits", "--dpi", "--quality", "--style-mix")
"""Flags that are recorded as arguments: they decide the picture or its file, are no part of a
recipe and name no file."""

FITS = {"--bits": holds_16_bits, "--quality": holds_quality}
"""Which of them are for some formats only, and for which."""


def read_origin(path: str) -> Record:
    """Read the record of the picture that ``--from`` names.

    Raises:
      OSError: It cannot be read.
      ValueError: It has no record, or one that cannot be read.
    """
    record = read_record(path)
    if record is None:
        raise ValueError(
            f"{name_of(path)} does not say how it was made: it is not from jaxnst-run, was made "
            "with --no-metadata, or has been changed by another program"
        )
    return record


def recorded_recipe(record: Record, chosen: argparse.Namespace) -> Recipe:
    """Return a record's recipe for ``--network``, without the sizes that flags replace.

    Args:
      record: Of another picture.
      chosen: With ``origin``, ``network``, ``size`` and ``style_size`` of the command line.

    Raises:
      ValueError: It was adapted to another network.
    """
    network = chosen.network or record.network
    if is_approximation(record.recipe) and network != record.network:
        raise ValueError(
            f"the recipe of {name_of(chosen.origin)} was adapted to {record.network}, which cannot "
            f"be undone for --network {network}: give --recipe too"
        )
    scales = record.recipe.scales
    if chosen.size is not None and scales.sides:
        scales = dataclasses.replace(scales, sides=None)
    if chosen.style_size is not None:
        scales = dataclasses.replace(scales, style_scale=1.0)
    return recipe_on(dataclasses.replace(record.recipe, scales=scales), network)


def recorded_flags(record: Record, chosen: argparse.Namespace, recipe: Recipe) -> list[str]:
    """Write a record as flags, to be put before those of the command line.

    Args:
      record: Of another picture.
      chosen: With ``recipe``, ``scales``, ``style_scale``, ``style_mix``, ``output`` and ``format``
        of the command line. Another recipe has its own network, other scales have their own size,
        another mixture replaces the recorded one, and flags that are for other formats than that
        of the output are left out.
      recipe: The recorded one, or that of the command line.

    Raises:
      ValueError: It has an argument that is unknown here.
    """
    other = None if chosen.recipe is None else recipe.scales
    sized = chosen.scales not in (None, "auto") or (other is not None and other.sides)
    style_sized = chosen.style_scale is not None or (
        other is not None and (other.style_scale != 1 or other.style_like_content)
    )
    size, sides = record.size, record.recipe.scales.sides
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
        if f"--{name}" not in RECORDED:
            raise ValueError(f"the record sets {name!a}, which this jaxnst does not know")
        values[f"--{name}"] = value
    if chosen.style_mix is not None:
        values["--style-mix"] = None
    name = result_name(chosen.output or "", chosen.format)
    if os.path.splitext(name)[1].lower() in ENDINGS:
        for flag, fits in FITS.items():
            values[flag] = values.get(flag) if fits(name) else None
    flags = []
    for flag, setting in values.items():
        if setting is True:
            flags.append(flag)
        elif setting is not None and _is_set(setting):
            # With "=", no value can be taken for another flag.
            several = setting if isinstance(setting, tuple) else (setting,)
            flags += [f"{flag}={one}" for one in several]
    return flags


def _is_set(value: Argument | None) -> bool:
    return value is not None and value is not False and value != ()


def refuse_other_inputs(record: Record, sources: tuple[Source, ...]) -> None:
    """Refuse files other than those that the recorded picture was made of.

    Raises:
      UsageError: One is another; the message names the first.
    """
    why = "--other-inputs paints others in the same way"
    for was, now in zip(record.sources, sources, strict=False):
        if (was.role, was.sha256) != (now.role, now.sha256):
            raise UsageError(
                f"--from: its {was.role} was {name_of(was.name)} (SHA-256 {was.sha256[:12]}...), "
                f"{name_of(now.name)} is another file: {why}"
            )
    for was in record.sources[len(sources) :]:
        raise UsageError(
            f"--from: its {was.role} {name_of(was.name)} is missing: give it too; {why}"
        )
    if len(record.sources) < len(sources):
        now = sources[len(record.sources)]
        raise UsageError(f"--from: it had no {now.role} {name_of(now.name)}: {why}")


def as_recorded(job: "Job", record: Record, messages: Messages) -> "Job":
    """Return a job as its record has it, and give notice of what may change the picture."""
    here = record_of(job)
    for what, was, now in (
        ("jaxnst", record.jaxnst, here.jaxnst),
        ("JAX", record.jax, here.jax),
    ):
        if was != now:
            messages.notice(f"made by {what} {was}, this is {now}: the picture may differ")
    if record.platform != here.platform:
        messages.notice(
            f"made on a {record.platform}, this is a {here.platform}: the picture may differ"
        )
    if None not in (record.threads, here.threads) and record.threads != here.threads:
        messages.notice(
            f"made on {record.threads} threads of a CPU, this is {here.threads}: the picture may "
            f"differ (PJRT_NPROC={record.threads} in the environment sets their number)"
        )
    if (record.network, record.network_sha256) != (here.network, here.network_sha256):
        messages.notice(
            f"made with {record.network} of other parameters (SHA-256 "
            f"{record.network_sha256[:12]}..., here {here.network} of "
            f"{here.network_sha256[:12]}...): the picture will differ"
        )
    same_size = (record.size, record.style_size) == (job.flags.size, job.flags.style_size)
    if job.remat or not (record.remat and same_size):
        return job
    return dataclasses.replace(job, remat=True, loop=None)


def record_of(job: "Job") -> Record:
    """Describe a run that is about to begin."""
    flags, recipe, sources = job.flags, job.recipe, job.pictures.sources
    init = [source.name for source in sources if source.role == "init"]
    names = [flag.removeprefix("--") for flag in RECORDED]
    arguments = {name: getattr(flags, name.replace("-", "_")) for name in names}
    arguments["style-mix"] = tuple(
        f"{layer}:{','.join(map(str, weights))}".removeprefix(":")
        for layer, weights in flags.style_mix or ()
    )
    return Record(
        recipe=dataclasses.replace(recipe, init=init[0]) if init else recipe,
        network=job.network.name,
        network_sha256=parameters_sha256(job.network.params),
        size=flags.size,
        style_size=flags.style_size,
        seed=flags.seed,
        precision=flags.precision,
        remat=job.remat,
        platform=job.device.platform,
        threads=job.threads,
        sources=sources,
        arguments={name: value for name, value in arguments.items() if _is_set(value)},
    )


def record_to_write(job: "Job", messages: Messages) -> Record | None:
    """Return the record for the picture's file; None if it holds none, or is to hold none."""
    name = result_name(job.flags.output, job.flags.format)
    if job.flags.no_metadata or not name or not holds_record(name):
        return None
    record = record_of(job)
    try:
        format_record(record)
    except ValueError as error:
        messages.notice(f"the picture will not say how it was made: {error}")
        return None
    return record
