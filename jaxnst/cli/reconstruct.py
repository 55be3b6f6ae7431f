"""``jaxnst reconstruct``: what each layer of a network keeps of a picture, on one sheet."""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from jaxnst._checks import unknown
from jaxnst.cli.errors import UsageError, guarded
from jaxnst.cli.flags import SEEDS, LoadFlags, Parser, add_flags, flag, read_fields
from jaxnst.cli.interrupt import exit_when_stopped, stoppable
from jaxnst.cli.messages import Messages, quiet_xla
from jaxnst.cli.option_types import SIZES, integer
from jaxnst.cli.outputs import refuse_meeting, report_replacing, save_picture
from jaxnst.cli.parser import default_output
from jaxnst.cli.progress import ProgressBar
from jaxnst.image import check_output, check_side, load_image, resize
from jaxnst.image.color import Pixels
from jaxnst.recipes.schema import SHIPPED

if TYPE_CHECKING:
    from jaxnst.transfer.reconstruct import ReconstructProgress

COLUMNS = 5


@dataclass(frozen=True, kw_only=True)
class ReconstructFlags(LoadFlags):
    """All flags of ``jaxnst reconstruct content`` and ``style``."""

    action: str
    picture: str = flag("PICTURE", "picture to reconstruct", ...)
    output: str = flag(
        "-o --output SHEET",
        "file to save the sheet to; the single pictures are saved beside it, with their layer in "
        "the name (default: PICTURE-content-sheet.png or PICTURE-style-sheet.png in the current "
        "folder)",
        "",
    )
    layers: str = flag("--layers A,B,...", "layers, separated by commas", ...)
    size: int = flag("--size PIXELS", "longest side of the pictures", 256, read=integer(*SIZES))
    steps: int = flag("--steps N", "loss evaluations for each picture", 400, read=integer(1))
    seed: int = flag("--seed N", "random seed of the noise to start from", 0, read=integer(*SEEDS))
    together: bool = flag(
        "--together",
        "reconstruct all layers in one program, which is faster on a GPU or TPU",
        False,
    )


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parsed = _parser(prog).read(arguments)
    prog = f"{prog} {parsed.action}"
    if parsed.action == "layers":
        return guarded(prog, lambda: _layers(parsed.network), debug=parsed.debug)
    sheet = f"-{parsed.action}-sheet.png"
    parsed.output = parsed.output or default_output([parsed.picture], sheet)
    flags = read_fields(ReconstructFlags, parsed)
    return guarded(prog, lambda: _reconstruct(flags, prog), debug=flags.debug)


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog, description="Show what the layers of a loss network keep of a picture."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary, merged in (
        ("content", "make a picture from each layer's feature map of a picture", ""),
        (
            "style",
            "make a texture from each layer's style statistic of a picture",
            "; + merges several: relu1_1+relu2_1",
        ),
    ):
        usage = f"{prog} {name} PICTURE --layers A,B,... [-o SHEET] [flags]"
        description = f"{summary[0].upper()}{summary[1:]}."
        action = actions.add_parser(name, help=summary, description=description, usage=usage)
        text = f"layers, separated by commas{merged}; jaxnst reconstruct layers lists them"
        texts = {"layers": text, "network": f"loss network (default: {SHIPPED})"}
        add_flags(action, ReconstructFlags, help=texts)
    layers = actions.add_parser(
        "layers", help="list a network's layers, their strides and channels"
    )
    layers.add_argument(
        "--network", metavar="NAME", default=SHIPPED, help=f"loss network (default: {SHIPPED})"
    )
    layers.add_argument("--debug", action="store_true", help="print the traceback of an error")
    return parser


def _layers(network: str) -> int:
    from jaxnst.networks import NETWORKS

    if network not in NETWORKS:
        raise UsageError(unknown("network", network, NETWORKS))
    table = NETWORKS[network].module.table()
    width = max(map(len, table))
    print(f"{'layer':<{width}}  stride  channels")
    for name, layer in table.items():
        print(f"{name:<{width}}  {layer.stride:>6}  {layer.channels:>8}")
    return 0


def _reconstruct(flags: ReconstructFlags, prog: str) -> int:
    groups = [tuple(group.split("+")) for group in flags.layers.split(",")]
    if any("" in group for group in groups):
        raise UsageError(f"--layers is {flags.layers!r}, expected names with commas between them")
    if flags.action == "content" and any(len(group) > 1 for group in groups):
        raise UsageError("--layers: only style can be reconstructed from layers merged with +")
    if any(len(set(group)) < len(group) for group in groups):
        raise UsageError(f"--layers is {flags.layers!r}, which merges a layer with itself")
    labels = dict.fromkeys("+".join(group) for group in groups)
    named = [("-o", flags.output)]
    named += [(f"the picture of {label}", _beside(flags.output, label)) for label in labels]
    for _, path in named:
        check_output(path)
    refuse_meeting(named, [flags.picture])
    messages = Messages(prog, quiet=flags.quiet, json=flags.json)
    with messages.warnings_as_notices():
        picture = load_image(flags.picture)
    check_side(picture, flags.picture)
    quiet_xla(debug=flags.debug)
    report_replacing([path for _, path in named], flags, messages)
    saved = "nothing is" if flags.together else "what was finished is"
    with messages.warnings_as_notices(), exit_when_stopped(messages, f", {saved} saved"):
        stoppable(lambda: _make(flags, picture, groups, messages))
    messages.saved(flags.output)
    return 0


def _make(
    flags: ReconstructFlags, picture: Pixels, groups: list[tuple[str, ...]], messages: Messages
) -> None:
    """Make and save the single pictures as they are finished, and the sheet at the end."""
    from jaxnst.cli.device import keep_programs, use_device
    from jaxnst.cli.loading import load_for
    from jaxnst.report.contact_sheet import contact_sheet
    from jaxnst.transfer.reconstruct import RECIPE, reconstruct_content, reconstruct_style

    use_device(flags.device)
    name = flags.network or SHIPPED
    wanted = [layer for group in groups for layer in group]
    network = load_for(name, wanted, flags)
    keep_programs(messages.notice, unless=flags.no_cache)
    bar, rows = ProgressBar(messages), list[tuple[str, Pixels]]()

    def report(now: "ReconstructProgress") -> None:
        share = now.done / now.total
        share = share if flags.together else (len(rows) + share) / len(groups)
        bar.update(share, f"{now.done}/{now.total} evaluations", [", ".join(now.layers)])

    make = partial(
        reconstruct_content if flags.action == "content" else reconstruct_style,
        picture,
        network=network,
        recipe=replace(RECIPE, scales=replace(RECIPE.scales, evaluations=(flags.steps,))),
        size=flags.size,
        seed=flags.seed,
        together=flags.together,
        callback=report,
    )
    with closing(bar):
        for some in [groups] if flags.together else [[group] for group in groups]:
            layers = [group[0] for group in some] if flags.action == "content" else some
            for result in make(layers):  # type: ignore[arg-type]
                label = "+".join(result.layers)
                save_picture(_beside(flags.output, label), result.image)
                messages.info(f"{label}: loss {result.loss:.3g}, {_beside(flags.output, label)}")
                rows.append((f"{label.replace('+', ' + ')}\nloss {result.loss:.2g}", result.image))
    shown = resize(picture, rows[0][1].shape[:2]).clip(0, 1)
    rows.insert(0, ("the picture", shown))
    lines = [rows[i : i + COLUMNS] for i in range(0, len(rows), COLUMNS)]
    save_picture(flags.output, contact_sheet(lines, height=shown.shape[0]))


def _beside(output: str, label: str) -> str:
    """Name a single picture after the sheet.

    Example:
      >>> _beside("out/sheet.png", "conv1/relu")
      'out/sheet-conv1_relu.png'
    """
    stem, ending = os.path.splitext(output)
    return f"{stem}-{label.replace('/', '_')}{ending}"
