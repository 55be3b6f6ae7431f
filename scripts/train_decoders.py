"""Train decoders for a loss network: from its feature maps back to the picture.

A decoder of level L mirrors the network from relu{L}_1 (Li et al. 2017, section 3.1). It learns to
give back what the network saw, by the paper's loss, here of mean squares:

    |image - picture|^2 + weight * |features(image) - features(picture)|^2 / |features(picture)|^2

Levels are trained one after the other, shallow to deep. A decoder begins with the layers of the one
before, and what leads to them learns by itself first, to give the features that they start from.
Then all of it is trained, the deeper the slower: at a larger rate, or from random layers, a decoder
of level 5 stays 5 dB below. That of level 1 begins with the best that a single convolution can do,
which is solved for, behind another that changes nothing yet.

    python scripts/train_decoders.py --images DIR --out runs/decoders

``OUT/decoders.safetensors`` (float16) is what ``jaxnst instant --decoders`` reads; levels that a
run does not train stay as they are in it, and are begun with. ``OUT/samples{L}.png`` shows pictures
that training never sees, given back. Checkpoints are in ``OUT/level{L}``: started again with the
same settings, the run goes on. Ctrl-C ends after the present step, and keeps it. Needs the extra
``train``.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from decoder_training import SHARES, Enough, Trainer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jaxnst.cli.errors import UsageError, explain, guarded
from jaxnst.cli.flags import SEEDS, Parser
from jaxnst.cli.interrupt import Stopped, stoppable
from jaxnst.cli.messages import Messages
from jaxnst.cli.option_types import integer, integers, number
from jaxnst.feedforward.settings import Training

PROG = "train_decoders.py"


def _parser() -> Parser:
    parser = Parser(
        prog=PROG,
        description=__doc__.split("\n", 1)[0],
        epilog="Exit status: 0 done, 1 something failed on the way, 2 flags, or what they name, "
        "cannot be used, 130 stopped by Ctrl-C: what was learned is kept, and the same command "
        "goes on.",
        allow_abbrev=False,
    )
    defaults = Training(rate=4e-3, warmup=100)

    def add(flag: str, default: object, read: Callable[[str], Any], text: str) -> None:
        parser.add_argument(flag, default=default, type=read, help=f"{text} (default: {default})")

    parser.add_argument("--images", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--network", default="vgg19-lite", help="a VGG")
    parser.add_argument("--weights", help="its parameters, if they do not ship with jaxnst")
    levels = ",".join(map(str, SHARES))
    add("--levels", levels, integers(min(SHARES), max(SHARES)), "which, with commas between")
    parser.add_argument("--begin", type=Path, help="file of decoders; its levels are trained on")
    add("--feature-weight", 0.01, number, "in the loss; less: better pixels")
    add("--down-steps", 1200, integer(1), "of what leads a level down")
    add("--down-rate", 4e-3, number, "its largest step scale")
    parser.add_argument("--held-out", help="names of pictures kept out, without endings: A,B,...")
    add("--out", Path("runs/decoders"), Path, "folder of results")
    add("--workers", 0, integer(0, 256), "processes that decode pictures")
    add("--steps", defaults.steps, integer(1), "of each level")
    add("--batch", defaults.batch, integer(1, 1024), "crops in each step")
    add("--crop", defaults.crop, integer(16, 4096), "side of the crops, pixels")
    add("--rate", defaults.rate, number, "largest step scale of level 2; the others have less")
    add("--warmup", defaults.warmup, integer(0), "steps until it is reached")
    add("--seed", 0, integer(*SEEDS), "decides crops, and parameters at the start")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    messages = Messages(PROG, quiet=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with (
        messages.warnings_as_notices(),
        Progress(*columns, disable=not sys.stdout.isatty()) as progress,
    ):
        try:
            trainer = Trainer(arguments, progress, messages)
        except (KeyError, OSError, ValueError) as error:
            raise UsageError(explain(error)) from error
        status = _until_stopped(trainer)
    if not status:
        print(trainer.path)
    return status


def _until_stopped(trainer: Trainer) -> int:
    """Train until the end, or until the step at which somebody wants no more of it."""
    done, status = Future[None](), 0

    def work() -> None:
        try:
            done.set_result(trainer.all())
        except BaseException as error:
            done.set_exception(error)

    try:
        stoppable(work)
    except Stopped as stop:
        status = stop.status
        trainer.enough.set()
        trainer.messages.info(f"{PROG}: stopping after this step; once more to stop at once")
    try:
        done.result()
    except Enough as enough:
        kept = [*(f"level {level}" for level in trainer.finished), *enough.args]
        trainer.messages.info(
            f"{PROG}: stopped; kept: {', '.join(kept) or 'nothing yet'}; the same command goes on"
        )
        return status
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().read(sys.argv[1:] if arguments is None else arguments)
    return guarded(PROG, lambda: _run(given), debug=given.debug)


if __name__ == "__main__":
    sys.exit(main())
