"""``jaxnst run``: from picture files to a picture file.

Errors are found early: flags are checked first, then files are read, and only then is JAX imported
and anything compiled.
"""

import time
from collections.abc import Sequence

from jaxnst.cli.errors import guarded
from jaxnst.cli.messages import Messages, quiet_xla
from jaxnst.cli.parser import RunFlags, parse
from jaxnst.recipes.schema import Recipe

BEGIN = time.perf_counter()


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    flags, recipe = parse(arguments, prog)
    messages = Messages(prog, quiet=flags.quiet)
    with messages.warnings_as_notices():
        return guarded(prog, lambda: _run(flags, recipe, messages), debug=flags.debug)


def _run(flags: RunFlags, recipe: Recipe, messages: Messages) -> int:
    from jaxnst.cli.inputs import check_flags, read_pictures, report_flags, report_sizes
    from jaxnst.cli.recording import as_recorded, record_to_write, refuse_other_inputs

    check_flags(flags, recipe)
    report_flags(flags, recipe, messages)
    pictures = read_pictures(flags, recipe)
    if flags.record is not None and not flags.other_inputs:
        refuse_other_inputs(flags.record, pictures.sources)
    report_sizes(flags, recipe, pictures, messages)
    quiet_xla(debug=flags.debug)

    from jaxnst.cli.fitting import report, settle
    from jaxnst.cli.job import make_job, paint

    job = make_job(flags, recipe, pictures)
    ready = time.perf_counter() - BEGIN
    job, refusal = settle(job, messages)
    if flags.record is not None and refusal is None:
        job = as_recorded(job, flags.record, messages)
    if flags.dry_run:  # also of a run that is refused
        print(report(job, startup=ready))
    if refusal is not None:
        raise refusal
    if flags.dry_run:
        return 0
    return paint(job, messages, record_to_write(job, messages))
