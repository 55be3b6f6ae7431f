"""``jaxnst instant``: pictures in the manner of any painting, in one pass each."""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxnst._files import name_of
from jaxnst.cli.errors import FAILED, UsageError, blaming_flags, complain, explain, guarded, leave
from jaxnst.cli.fetching import STREAM, as_files, blaming, check_sources, is_address
from jaxnst.cli.flags import (
    SIZE,
    Parser,
    add_ending,
    add_local,
    add_machine,
    add_network,
    add_saving,
    add_side,
    add_styles,
    check_style_mix,
    style_mix_of,
)
from jaxnst.cli.messages import Messages, hush_xla, length, shape
from jaxnst.cli.outputs import OTHER, refuse_meeting, same_file
from jaxnst.cli.rows import pictures as pictures_in
from jaxnst.cli.saving import check_format, print_path, save_options, save_picture
from jaxnst.cli.stopping import Stopped, stoppable
from jaxnst.cli.values import number, wholes
from jaxnst.image import check_output, check_side, load_image
from jaxnst.srgb import Pixels

if TYPE_CHECKING:
    from jaxnst.feedforward.one_pass import OnePass

DEFAULT = "vgg19-lite"

Work = tuple[str, str]
"""A content and where its picture goes."""


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    flags = _parser(prog).read(arguments)
    return guarded(prog, lambda: _run(flags, prog), debug=flags.debug)


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage=f"{prog} CONTENT STYLE [STYLE ...] -o OUT [flags]",
        description="Paint pictures in the manner of the style pictures in one pass: no "
        "optimisation, a second or so each.",
        epilog="jaxnst-run takes longer and paints better; with --init instant it goes on from "
        "such a picture.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "content", metavar="CONTENT", help="a picture, a folder of pictures, or a pattern"
    )
    parser.add_argument("styles", nargs="+", metavar="STYLE", help="one painting or several")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="the picture to be written; a folder where CONTENT is a folder or a pattern",
    )
    method = parser.add_argument_group("method")
    method.add_argument(
        "--alpha",
        type=number,
        default=0.6,
        metavar="X",
        help="how much of the style, from 0 to 1 (default: 0.6)",
    )
    method.add_argument(
        "--levels",
        type=wholes(1, 5),
        default=(4, 3, 2, 1),
        metavar="A,B,...",
        help="levels of the network, in the order in which they run: 4 changes large forms, 1 "
        "colours alone (default: 4,3,2,1)",
    )
    method.add_argument(
        "--transform",
        choices=("whiten", "moments"),
        default="whiten",
        help="what is taken over of a style: mean and covariance, or mean and deviation of every "
        "channel, which is less (default: whiten)",
    )
    add_side(method, "--size", "longest side of the result", default=SIZE)
    add_side(
        method,
        "--style-size",
        "longest side of the styles: larger for larger strokes (default: that of the result)",
    )
    add_styles(method)
    method.add_argument(
        "--decoders", metavar="FILE", help="decoders of the network, of scripts/train_decoders.py"
    )
    add_network(parser.add_argument_group("network"), DEFAULT)
    add_saving(parser, single=False)
    add_ending(parser)
    add_local(parser)
    add_machine(parser)
    return parser


def _run(flags: argparse.Namespace, prog: str) -> int:
    work, in_folder = _work(flags)
    sources = [*flags.styles, *flags.mask, *flags.style_mask]
    check_sources(sources if in_folder else [flags.content, *sources])
    for _, output in work:
        check_format(output, flags)
    check_style_mix(flags)
    if in_folder and flags.mask:
        raise UsageError("--mask is for one picture, not for a folder of them")
    if in_folder:
        os.makedirs(flags.output, exist_ok=True)
    messages = Messages(prog, quiet=flags.quiet)
    hush_xla(debug=flags.debug)
    with messages.warnings_as_notices():
        try:
            failed = stoppable(lambda: _paint(flags, work, messages))
        except Stopped as stop:
            messages.say(f"{prog}: stopped; what is finished is saved")
            leave(stop.status)
    return FAILED if failed else 0


def _work(flags: argparse.Namespace) -> tuple[list[Work], bool]:
    """List what is to be painted, and say whether it goes to a folder."""
    content = flags.content
    single = content == STREAM or is_address(content) or os.path.isfile(content)
    if single or not (os.path.isdir(content) or any(c in content for c in "*?[")):
        check_output(flags.output)
        named = [content, *flags.styles, *flags.mask, *flags.style_mask]
        refuse_meeting([("-o", flags.output)], named)
        return [(content, flags.output)], False
    if os.path.exists(flags.output) and not os.path.isdir(flags.output):
        raise UsageError(f"-o {name_of(flags.output)} is a file, expected a folder for the results")
    work: list[Work] = []
    taken: dict[str, str] = {}
    for path in pictures_in("CONTENT", content):
        output = os.path.join(flags.output, Path(path).stem + flags.ending)
        other = taken.setdefault(os.path.normcase(output), path)
        if other is not path:
            raise UsageError(
                f"{name_of(output)} would be made of {name_of(other)} and of {name_of(path)}: "
                "rename one of them"
            )
        if same_file(output, path):
            raise UsageError(f"-o {name_of(flags.output)} is the folder of CONTENT: {OTHER}")
        work.append((path, output))
    return work, True


def _paint(flags: argparse.Namespace, work: list[Work], messages: Messages) -> int:
    """Paint all there is to paint; return how many failed."""
    sources = [*flags.styles, *flags.mask, *flags.style_mask]
    if len(work) == 1:
        sources.append(work[0][0])
    with as_files(sources, allow_local=flags.allow_local) as files:
        read = _reader(files)
        # What is wrong with pictures is found before anything slow is imported.
        first = read(work[0][0]) if len(work) == 1 else None
        styles = [read(source) for source in flags.styles]
        masks = [read(source, least=1) for source in flags.mask]
        style_masks = [read(source, least=1) for source in flags.style_mask]
        one_pass = _prepare(flags, styles, style_masks, messages)
        failed = 0
        for content, output in work:
            begin = time.perf_counter()
            try:
                picture = read(content) if first is None else first
                painted = one_pass.paint([picture], masks=masks)[0]
                save_picture(output, painted, **save_options(flags))
            except (OSError, ValueError) as error:
                if first is not None:
                    raise
                failed += 1
                complain(messages.prog, explain(error), FAILED)
                continue
            took = length(time.perf_counter() - begin)
            messages.say(f"{name_of(content)}: {shape(painted.shape[:2])} in {took}")
            print_path(output)
    if failed:
        messages.say(f"{messages.prog}: {failed} of {len(work)} pictures failed")
    return failed


def _reader(files: dict[str, str]) -> Callable[..., Pixels]:
    def read(source: str, *, least: int = 16) -> Pixels:
        path = files.get(source, source)
        with blaming(source, path):
            picture = load_image(path, alpha=True)
            check_side(picture, path, least=least)
        return picture

    return read


def _prepare(
    flags: argparse.Namespace,
    styles: list[Pixels],
    style_masks: list[Pixels],
    messages: Messages,
) -> "OnePass":
    from jaxnst.cli.device import keep_programs, use_device
    from jaxnst.cli.loading import load_for
    from jaxnst.feedforward.decoders import load_autoencoders
    from jaxnst.feedforward.instant import style_images
    from jaxnst.feedforward.one_pass import Instant, OnePass

    with blaming_flags():
        method = Instant(alpha=flags.alpha, levels=flags.levels, transform=flags.transform)
    use_device(flags.device)
    wanted = [f"relu{level}_1" for level in flags.levels]
    name = flags.network or DEFAULT
    network = load_for(name, wanted, flags, why=f", so there is no level {max(flags.levels)}")
    autoencoders = load_autoencoders(network, decoders=flags.decoders)
    if not flags.no_cache and (trouble := keep_programs()):
        messages.notice(trouble)
    with blaming_flags():
        return OnePass(
            autoencoders,
            style_images(styles),
            method,
            size=flags.size,
            style_size=flags.style_size,
            style_mix=style_mix_of(flags),
            style_masks=style_masks,
        )
