"""``jaxnst weights``: the parameter files that networks are loaded from."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxnst._checks import counted, unknown
from jaxnst.cli.errors import UsageError, blaming_flags, guarded
from jaxnst.cli.flags import PREPROCESSINGS, MachineFlags, Parser, add_fields
from jaxnst.cli.messages import amount, print_line
from jaxnst.weights import find_known, known_files, read_parameters, write_parameters
from jaxnst.weights._files import one_line
from jaxnst.weights.fetch import fetch, fetched_path, is_fetched, official_file
from jaxnst.weights.native import FORMAT
from jaxnst.weights.state_dict import UNSAID

DTYPES = ("float16", "float32")


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    flags = _parser(prog).read(arguments)
    return guarded(f"{prog} {flags.action}", lambda: flags.work(flags), debug=flags.debug)


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog, description="List, download, convert, check and show parameter files."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, summary: str, work: object, *also: str) -> Parser:
        description = f"{summary[0].upper()}{summary[1:]}."
        action = actions.add_parser(name, help=summary, description=description, aliases=also)
        add_fields(action, MachineFlags, ["debug"])
        action.set_defaults(work=work)
        return action

    add("list", "list the parameter files that jaxnst knows", _list)
    download = add("fetch", "download the official parameters of a network", _fetch, "download")
    download.add_argument("network", metavar="NETWORK", help="name of the network, such as vgg19")
    convert = add(
        "convert", "convert a parameter file to the safetensors format of jaxnst", _convert
    )
    convert.add_argument("file", metavar="FILE", help="file to convert")
    convert.add_argument(
        "-o", "--output", metavar="OUT", required=True, help="file to write, .safetensors"
    )
    convert.add_argument(
        "--network", metavar="NETWORK", help="check that the file fits this network"
    )
    convert.add_argument(
        "--preprocessing",
        choices=PREPROCESSINGS,
        help="preprocessing that the parameters were trained with, if the file does not state it",
    )
    convert.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="type of the stored numbers (default: float32)",
    )
    verify = add(
        "verify",
        "compare a file with the known digests, or check all downloaded files",
        _verify,
        "check",
    )
    verify.add_argument("file", metavar="FILE", nargs="?", help="default: all downloaded files")
    show = add("show", "list the contents of a file", _show)
    show.add_argument("file", metavar="FILE", help="file of parameters")
    return parser


def _list(flags: argparse.Namespace) -> int:
    for known in known_files():
        if known.format == FORMAT:
            state = "bundled with jaxnst"
        elif known.url and official_file(known.network) == known:
            fetched = is_fetched(known.network)
            state = "downloaded" if fetched else f"jaxnst weights fetch {known.network}"
        else:
            state = known.url or "no longer published, or only on request"
        print(f"{known.network:<20}{known.preprocessing:<12}{known.name}\n{'':<20}{state}")
        print(f"{'':<20}{known.origin}; {known.license}")
    return 0


def _fetch(flags: argparse.Namespace) -> int:
    with blaming_flags():
        known = official_file(flags.network)
    if is_fetched(flags.network):
        print(f"{flags.network} is already downloaded", file=sys.stderr)
    else:
        print(f"{known.name}: {known.origin}; {known.license}", file=sys.stderr)
    print_line(str(fetch_with_bar(flags.network)))
    return 0


def fetch_with_bar(network: str) -> Path:
    """Download a network's parameters, with a progress bar if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        return fetch(network, on_progress=show)


def _convert(flags: argparse.Namespace) -> int:
    from jaxnst.networks import NETWORKS, load_network

    if flags.network and flags.network not in NETWORKS:
        raise UsageError(unknown("network", flags.network, NETWORKS))
    params, metadata = read_parameters(flags.file)
    known = find_known(flags.file)
    network = flags.network or metadata.get("network") or (known.network if known else "")
    kept = ("epsilon", "origin", "unit_means", "model", "architecture", "name", "preprocessing")
    facts: dict[str, str] = {key: metadata[key] for key in kept if key in metadata}
    if network in NETWORKS:
        # Check what a run needs: that the file fits, and that its preprocessing is known.
        load_network(network, weights=flags.file, preprocessing=flags.preprocessing)
        facts["network"] = network
    if preprocessing := flags.preprocessing or (known and known.preprocessing):
        facts["preprocessing"] = preprocessing
    if facts.get("preprocessing") == UNSAID:
        raise UsageError(
            f"{flags.file} does not state which preprocessing its parameters expect: add "
            f"--preprocessing, one of {', '.join(PREPROCESSINGS)}"
        )
    arrays = {key: values.astype(flags.dtype) for key, values in params.items()}
    write_parameters(flags.output, arrays, metadata=facts)
    print_line(flags.output)
    return 0


def _verify(flags: argparse.Namespace) -> int:
    from jaxnst.networks import NETWORKS, load_network

    if flags.file is None:
        for network in NETWORKS:
            if is_fetched(network):
                load_network(network)
                print(f"{network}: complete and readable, {fetched_path(network)}")
        return 0
    known = find_known(flags.file)
    if known is None:
        raise ValueError(
            f"{flags.file} is not one of the known files, but may still be valid: jaxnst weights "
            "show lists its contents"
        )
    print(f"{known.name} of {known.network}: {known.origin}; {known.license}")
    return 0


def _show(flags: argparse.Namespace) -> int:
    params, metadata = read_parameters(flags.file)
    known = find_known(flags.file)
    facts = {"known as": known.name if known else "unknown", **metadata}
    if known:
        facts["preprocessing"] = known.preprocessing
    for name, text in facts.items():
        print(f"{one_line(name):<15}{one_line(text, 1000)}")
    values = sum(value.size for value in params.values())
    arrays = counted(len(params), "array")
    print(f"{'parameters':<15}{values} in {arrays}, {amount(4 * values)} in float32")
    for key, value in params.items():
        print(f"  {one_line(key):<40}{' x '.join(map(str, value.shape))}")
    return 0
