"""``jaxnst show``: how a picture was made, from the record in its file."""

import shlex
from collections.abc import Iterator, Sequence

from jaxnst._files import name_of
from jaxnst.cli.errors import guarded
from jaxnst.cli.flags import MachineFlags, Parser, add_fields
from jaxnst.image.record import Record

DESCRIPTION = (
    "Print how a picture was made by jaxnst run: facts as comments, and the recipe as a TOML file "
    "that --recipe accepts."
)


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = Parser(prog=prog, description=DESCRIPTION)
    parser.add_argument("picture", metavar="PICTURE", help="picture that jaxnst run saved")
    add_fields(parser, MachineFlags, ["debug"])
    flags = parser.read(arguments)
    return guarded(prog, lambda: _show(flags.picture), debug=flags.debug)


def _show(path: str) -> int:
    from jaxnst.cli.recording import read_origin
    from jaxnst.recipes import format_recipe

    record = read_origin(path)
    lines = [f"# {name:<10}{text}" for name, text in _facts(record, path)]
    lines += ["", *format_recipe(record.recipe).rstrip("\n").split("\n")]
    print(*map(_printable, lines), sep="\n")
    return 0


def _facts(record: Record, path: str) -> Iterator[tuple[str, str]]:
    threads = "" if record.threads is None else f", {record.threads} threads"
    made = f"jaxnst {record.jaxnst} with JAX {record.jax} on a {record.platform}{threads}"
    yield "made by", made
    for source in record.sources:
        yield source.role, f"{name_of(source.name)} (SHA-256 {source.sha256})"
    yield "network", f"{record.network} (parameters' SHA-256 {record.network_sha256})"
    yield "size", "the recipe's own" if record.size is None else f"{record.size} pixels"
    if record.style_size is not None:
        yield "styles at", f"{record.style_size} pixels"
    yield "seed", str(record.seed)
    yield "precision", record.precision
    if record.remat:
        yield "memory", "feature maps were computed anew for the gradient"
    for name, value in record.arguments.items():
        yield name, str(value)
    names = [s.name for s in record.sources if s.role in ("content", "style")]
    others = [(f"--{s.role}", s.name) for s in record.sources if s.role not in ("content", "style")]
    names += [word for pair in others for word in pair]
    yield "again", shlex.join(["jaxnst-run", "--from", path, *names, "-o", "NEW.png"])


def _printable(text: str) -> str:
    """Escape control characters, as TOML does."""
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
