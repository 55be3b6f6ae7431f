"""``jaxnst show``: how a picture was made, from the record in its file."""

import argparse
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jaxnst._files import name_of
from jaxnst.cli.errors import guarded
from jaxnst.cli.flags import MachineFlags, Parser, add_fields
from jaxnst.cli.recording import as_flags, read_origin
from jaxnst.image.record import Argument, Record
from jaxnst.recipes import format_recipe
from jaxnst.weights import bundled_styles

DESCRIPTION = (
    "Print how a picture of jaxnst was made: facts as comments, and its recipe as a TOML file that "
    "--recipe accepts."
)


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = Parser(prog=prog, description=DESCRIPTION)
    parser.add_argument("picture", metavar="PICTURE", help="picture that jaxnst saved")
    text = "another one: print what differs"
    parser.add_argument("other", metavar="OTHER", nargs="?", help=text)
    add_fields(parser, MachineFlags, ["debug"])
    flags = parser.read(arguments)
    work = partial(_show, flags.picture) if flags.other is None else partial(_compare, flags)
    return guarded(prog, work, debug=flags.debug)


def _show(path: str) -> int:
    record = read_origin(path)
    facts = *_facts(record), ("again", _again(record, path))
    lines = [f"# {name:<9} {text}" for name, text in facts]
    if record.recipe is not None:
        lines += ["", *format_recipe(record.recipe).rstrip("\n").split("\n")]
    print(*map(_printable, lines), sep="\n")
    return 0


def _compare(flags: argparse.Namespace) -> int:
    """Print what differs in how two pictures were made, a line each."""
    records = read_origin(flags.picture), read_origin(flags.other)
    detailed = all(record.recipe is not None for record in records)
    one, other = (_values(record, detailed=detailed) for record in records)
    lines = [
        f"{name}: {one.get(name, 'none')} -> {other.get(name, 'none')}"
        for name in dict.fromkeys([*one, *other])
        if one.get(name) != other.get(name)
    ]
    same = f"{name_of(flags.picture)} and {name_of(flags.other)} were made in the same way"
    print(*map(_printable, lines or [same]), sep="\n")
    return 0


def _values(record: Record, *, detailed: bool) -> dict[str, str]:
    """List all that a picture was made with by name, settings of its recipe if ``detailed``."""
    values: dict[str, str] = {}
    for name, text in _facts(record):
        number = 2
        while name in values:
            name, number = f"{name.split(' ')[0]} {number}", number + 1
        values[name] = text

    def flatten(table: Mapping[str, Any], path: str) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                flatten(value, f"{path}{key}.")
            else:
                values[path + key] = str(value)

    if record.recipe is not None and not detailed:
        values["recipe"] = record.recipe.name
    elif record.recipe is not None:
        flatten(tomllib.loads(format_recipe(record.recipe)), "")
    return values


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    threads = "" if record.threads is None else f", {record.threads} threads"
    made = f"jaxnst {record.jaxnst} with JAX {record.jax} on a {record.platform}{threads}"
    yield "made by", made
    for source in record.sources:
        yield source.role, f"{name_of(source.name)} (SHA-256 {source.sha256})"
    yield "network", f"{record.network} (parameters' SHA-256 {record.network_sha256})"
    unset = "that of the content" if record.recipe is None else "the recipe's own"
    yield "size", unset if record.size is None else f"{record.size} pixels"
    if record.style_size is not None:
        yield "styles at", f"{record.style_size} pixels"
    yield "seed", str(record.seed)
    yield "precision", record.precision
    if record.remat:
        yield "memory", "feature maps were recomputed for the gradient"
    if record.tile is not None:
        yield "tiles", f"of at most {record.tile} pixels"
    for name, value in record.arguments.items():
        yield name, str(value)
    for change in record.changes:
        settings = (f"{name} {_setting(value)}" for name, value in change.options.items())
        yield "change", f"after {change.evaluation} evaluations: {', '.join(settings)}"


def _setting(value: Any) -> str:
    """Write a value of a change."""
    if isinstance(value, tuple):
        files = (f"{name_of(source.name)} (SHA-256 {source.sha256})" for source in value)
        return " and ".join(files) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _again(record: Record, path: str) -> str:
    """Write the command that makes a picture again, with the names of its files."""
    command, new = str(record.arguments.get("command", "")), f"NEW{Path(path).suffix}"
    names = [s.name for s in record.sources if s.role in ("content", "style")]
    others = [(f"--{s.role}", s.name) for s in record.sources if s.role not in ("content", "style")]
    known = {source.sha256 for source in record.sources}
    later = {source.sha256: source.name for change in record.changes for source in change.sources}
    others += [("--change", name) for digest, name in later.items() if digest not in known]
    names += [word for pair in others for word in pair]
    if command in ("instant", "apply"):
        values: dict[str, Argument | None] = {
            "network": record.network,
            "size": record.size,
            "style-size": record.style_size,
            "precision": None if record.precision == "float32" else record.precision,
        }
        if command == "apply":
            files = [source.name for source in record.sources if source.role == "model"]
            model = [record.network] if record.network in bundled_styles() else files[:1]
            names, values["network"] = [*model, *names[:1]], None
        values |= {name: value for name, value in record.arguments.items() if name != "command"}
        flags = [flag for name, value in values.items() for flag in as_flags(f"--{name}", value)]
        return shlex.join(["jaxnst", command, *names, "-o", new, *flags])
    if command:
        return f"by jaxnst {command}, which printed the command of each cell"
    return shlex.join(["jaxnst-run", "--from", path, *names, "-o", new])


def _printable(text: str) -> str:
    """Escape control characters, as TOML does."""
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
