"""``jaxnst run``: from picture files to a picture file.

Errors are found early: flags are checked first, then files are read, and only then is JAX imported
and anything compiled.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxnst.cli.errors import guarded
from jaxnst.cli.messages import Messages, quiet_xla
from jaxnst.cli.parser import RunFlags, parse
from jaxnst.recipes.schema import Recipe

if TYPE_CHECKING:
    from jaxnst.cli.job import Job


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    begin = time.perf_counter()
    flags, recipe = parse(arguments, prog)
    messages = Messages(prog, quiet=flags.quiet, json=flags.json)
    with messages.warnings_as_notices():
        return guarded(prog, lambda: _run(flags, recipe, messages, begin), debug=flags.debug)


def prepare(flags: RunFlags, recipe: Recipe, messages: Messages) -> "Job":
    """Check flags, read pictures and load the network, with notices of what the user should know.

    Raises:
      UsageError: Flags contradict each other, or ask for what does not exist.
      OSError: A file cannot be read or written.
      ValueError: A file is not a picture or not a network.
    """
    from jaxnst.cli.inputs import check_flags, read_pictures, report_flags, report_sizes
    from jaxnst.cli.recording import refuse_other_inputs

    check_flags(flags, recipe)
    report_flags(flags, recipe, messages)
    pictures = read_pictures(flags, recipe)
    if flags.record is not None and not flags.other_inputs:
        refuse_other_inputs(flags.record, pictures.sources)
    quiet_xla(debug=flags.debug)

    from jaxnst.cli.job import make_job

    job = make_job(flags, recipe, pictures)
    report_sizes(flags, recipe, pictures, messages)
    return job


def _run(flags: RunFlags, recipe: Recipe, messages: Messages, begin: float) -> int:
    job = prepare(flags, recipe, messages)
    ready = time.perf_counter() - begin

    from jaxnst.cli.fitting import report, settle
    from jaxnst.cli.job import paint
    from jaxnst.cli.recording import as_recorded

    job, refusal = settle(job, messages)
    if flags.record is not None and refusal is None:
        job = as_recorded(job, flags.record, messages)
    if flags.dry_run:  # also of a run that is refused
        print(report(job, startup=ready))
    if refusal is not None:
        raise refusal
    return 0 if flags.dry_run else paint(job, messages, begin)
