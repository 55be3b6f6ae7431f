"""How a picture was made: everything needed to make it again, as JSON in the picture's file.

A record holds names without their folders, digests and settings; no path, no date, no machine. Text
from a file is treated as hostile: bounded before it is parsed, checked field by field after. It is
PNG's ``iTXt``, EXIF's ``UserComment`` in JPEG, WebP and AVIF, TIFF's ``ImageDescription``.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from jaxnst._checks import check
from jaxnst._files import AnyPath, check_source, digest_of
from jaxnst._version import __version__
from jaxnst.recipes import format_recipe, recipe_from
from jaxnst.recipes.schema import Precision, Recipe

FORMAT = 2

MARK = '{"jaxnst_record":'
"""How the text begins."""

KEYWORD = "jaxnst"
"""Keyword of the PNG text chunk that holds the record."""

ASCII = b"ASCII\0\0\0"
"""How EXIF's ``UserComment`` states its encoding."""

MAX_BYTES = 60_000
"""Longest text: one segment of a JPEG file holds at most 65533 bytes."""

MOST = 2**53
"""Greatest whole number: beyond it, not every reader of JSON is exact."""

ROLES = {"styles": "style", "masks": "mask", "style_masks": "style-mask"}
"""Options that are pictures, and what a source of each is."""

Value: TypeAlias = str | int | float | bool
T = TypeVar("T")

Argument: TypeAlias = Value | tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that a picture was made of.

    Attributes:
      role: What it was: ``content``, ``style``, or the flag that named it: ``init``, ``mask``.
      name: Its name, without its folder.
      sha256: SHA-256 digest of its bytes, in hexadecimal digits.
    """

    role: str
    name: str
    sha256: str

    def __post_init__(self) -> None:
        _check_text("role", self.role)
        _check_text("name", self.name)
        _check_digest("sha256", self.sha256)


@dataclass(frozen=True, kw_only=True)
class RecordedChange:
    """A change of a run while it went on, without the pictures themselves.

    Attributes:
      evaluation: After how many evaluations it came.
      options: New values by name, as JSON has them; for those in :data:`ROLES` a tuple of sources.
    """

    evaluation: int
    options: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        count = self.evaluation
        fits = type(count) is int and 0 <= count <= MOST
        check("evaluation of a change", _short(count), fits, "a whole number, 0 or above")
        for name, value in self.options.items():
            _check_text("name of an option", name)
            fits = isinstance(value, tuple) and all(isinstance(one, Source) for one in value)
            if name in ROLES:
                check(f"{name} of a change", _short(value), fits, "sources")
            else:
                _check_json(f"{name} of a change", value)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files that came with it."""
        pictures = (value for name, value in self.options.items() if name in ROLES)
        return tuple(source for several in pictures for source in several)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything needed to make a picture again, except the files themselves.

    Attributes:
      recipe: The method; None if it was not optimized. Where it starts from a picture, ``init`` is
        that one's name.
      network: Name of the loss network.
      network_sha256: Digest of its parameters; see :func:`.parameters_sha256`.
      size: Longest side set by the user, pixels; None: the recipe's own.
      style_size: Longest side at which the styles were looked at; None: that of the result.
      seed: Of the noise.
      precision: Of the loss network.
      remat: Whether feature maps were recomputed for the gradient.
      tile: Longest side of the tiles in which it was computed, pixels; None: no tiles.
      platform: What it ran on: ``cpu``, ``gpu`` or ``tpu``.
      threads: On how many threads of a CPU; None if unknown, or not on a CPU.
      sources: The files, in the order of the command line.
      arguments: Further controls by name, and what they were set to.
      changes: Of options, while it was painted.
      jaxnst: Version that made it.
      jax: Version of JAX that made it.
    """

    recipe: Recipe | None
    network: str
    network_sha256: str
    size: int | None
    style_size: int | None = None
    seed: int = 0
    precision: Precision = "float32"
    remat: bool = False
    tile: int | None = None
    platform: str = "cpu"
    threads: int | None = None
    sources: tuple[Source, ...] = ()
    arguments: Mapping[str, Argument] = field(default_factory=dict, hash=False)
    changes: tuple[RecordedChange, ...] = ()
    jaxnst: str = __version__
    jax: str = field(default_factory=lambda: importlib.metadata.version("jax"))

    @property
    def final_options(self) -> dict[str, Any]:
        """Options that were changed while it was painted, with their last values."""
        return {name: value for change in self.changes for name, value in change.options.items()}

    @property
    def final_sources(self) -> tuple[Source, ...]:
        """The files with which it ended."""
        final, sources = self.final_options, self.sources
        for option, role in ROLES.items():
            if option in final:
                sources = (*(s for s in sources if s.role != role), *final[option])
        return sources

    def __post_init__(self) -> None:
        for key in ("network", "platform", "jaxnst", "jax"):
            _check_text(key, getattr(self, key))
        _check_digest("network_sha256", self.network_sha256)
        for key in ("size", "style_size", "tile", "threads", "seed"):
            least = 0 if key == "seed" else 1
            value = getattr(self, key)
            if value is not None or key == "seed":
                fits = type(value) is int and least <= value <= MOST
                check(key, _short(value), fits, f"a whole number, {least} or above")
        fits = self.precision in get_args(Precision)
        check("precision", _short(self.precision), fits, f"one of {', '.join(get_args(Precision))}")
        check("remat", _short(self.remat), isinstance(self.remat, bool), "true or false")
        for name, argument in self.arguments.items():
            _check_text("name of an argument", name)
            for value in argument if isinstance(argument, tuple) else (argument,):
                finite = isinstance(value, float) and math.isfinite(value)
                fits = finite or isinstance(value, str | int)
                check(f"argument {name}", _short(value), fits, "texts or finite numbers")


def source_of(role: str, path: AnyPath, *, name: str | None = None) -> Source:
    """Describe a file by its digest and by a name, which is its file name unless one is given.

    Raises:
      OSError: It cannot be read.
      ValueError: It is not a plain file, or empty.
    """
    check_source(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(role=role, name=os.path.basename(path) if name is None else name, sha256=digest)


def parameters_sha256(params: Mapping[str, Mapping[str, npt.ArrayLike]]) -> str:
    """Digest a network's parameters, by layer and name: shapes and float32 values."""
    return digest_of(
        {
            f"{layer}/{part}": np.asarray(value, "<f4")
            for layer, parts in params.items()
            for part, value in parts.items()
        }
    )


def format_record(record: Record) -> str:
    """Write a record as one line of JSON, in ASCII: the same record, the same text.

    Raises:
      ValueError: It would be longer than ``MAX_BYTES``.
    """
    table = {
        "jaxnst_record": FORMAT,
        **vars(record),
        "recipe": record.recipe and tomllib.loads(format_recipe(record.recipe)),
        "sources": [vars(source) for source in record.sources],
        "arguments": dict(sorted(record.arguments.items())),
        "changes": list(map(_change_table, record.changes)) or None,
    }
    table = {key: value for key, value in table.items() if value is not None}
    text = json.dumps(table, allow_nan=False, separators=(",", ":"))
    if len(text) > MAX_BYTES:
        raise ValueError(
            f"the record of how it was made takes {len(text)} bytes, expected at most {MAX_BYTES}: "
            "leave it out"
        )
    return text


def parse_record(text: str) -> Record:
    """Read what :func:`format_record` wrote.

    Raises:
      ValueError: The text is too long, no such JSON, of another version, or something in it is
        missing, unknown, of another type or out of range; in one line.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"the record has more than {MAX_BYTES} bytes: it is none of jaxnst's")
    try:
        table = json.loads(text, parse_float=_float, parse_int=_int, parse_constant=_float)
        version = table.pop("jaxnst_record", None) if isinstance(table, dict) else None
        if version is None:
            raise ValueError("no version is given")
        if version == FORMAT:
            return _record(table)
    except (ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        reason = reason if len(reason) <= 200 else reason[:197] + "..."
        raise ValueError(f"the record is damaged ({reason})") from None
    advice = "use the jaxnst that made the picture, or a newer one"
    if version == 1:
        advice = "its network vgg19-lite is gone; paint again, without --from, on vgg16-lite"
    raise ValueError(f"the record is of version {_short(version)}, expected {FORMAT}: {advice}")


def _record(table: dict[str, Any]) -> Record:
    _check_keys("", table, Record)
    table = {"size": None, "sources": [], "arguments": {}, "changes": [], **table}
    for key in ("recipe", "network", "network_sha256", "jaxnst", "jax"):
        if key not in table and (key != "recipe" or "command" not in table["arguments"]):
            raise ValueError(f"{key} is missing")
    kinds = {"recipe": dict, "sources": list, "arguments": dict, "changes": list}
    for key, kind in kinds.items():
        if key in table:
            check(key, _short(table[key]), isinstance(table[key], kind), f"a {kind.__name__}")
    table["recipe"] = recipe_from(table["recipe"], Recipe()) if "recipe" in table else None
    table["sources"] = tuple(_made("source", Source, source) for source in table["sources"])
    table["changes"] = tuple(map(_change, table["changes"]))
    table["arguments"] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in table["arguments"].items()
    }
    return Record(**table)


def _made(name: str, kind: type[T], table: Any) -> T:
    """Make a dataclass of a table."""
    check(name, _short(table), isinstance(table, dict), "a dict")
    _check_keys(f"{name}'s ", table, kind)
    return kind(**table)


def _change_table(change: RecordedChange) -> dict[str, Any]:
    options = {
        name: [vars(source) for source in value] if name in ROLES else value
        for name, value in change.options.items()
    }
    return {"evaluation": change.evaluation, "options": options}


def _change(table: Any) -> RecordedChange:
    if isinstance(table, dict) and isinstance(options := table.get("options"), dict):
        for name in options.keys() & ROLES:
            check(name, _short(options[name]), isinstance(options[name], list), "a list")
            options[name] = tuple(_made("source", Source, source) for source in options[name])
        return _made("change", RecordedChange, table)
    raise ValueError(f"change is {_short(table)}, expected a dict with options")


def _check_json(name: str, value: object) -> None:
    """Refuse what JSON does not hold, and very long texts."""
    if isinstance(value, dict):
        for key in value:
            check(name, _short(value), isinstance(key, str), "texts as names")
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            _check_json(name, one)
        return
    finite = not isinstance(value, float) or math.isfinite(value)
    fits = value is None or (finite and isinstance(value, str | int | float))
    fits = fits and (not isinstance(value, str) or len(value) <= 1000)
    check(name, _short(value), fits, "texts, finite numbers, or lists of these")


def _check_keys(owner: str, table: dict[str, Any], kind: type) -> None:
    known = {f.name for f in dataclasses.fields(kind)}
    for key in table:
        if key not in known:
            raise ValueError(f"{owner}{_short(key)} is unknown")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{_short(text)} is no finite number")
    return value


def _int(text: str) -> int:
    if len(text) > 17 or abs(value := int(text)) > MOST:
        raise ValueError(f"{_short(text)} is too large a number")
    return value


def _check_text(name: str, value: object) -> None:
    fits = isinstance(value, str) and 0 < len(value) <= 1000
    check(name, _short(value), fits, "a text of 1 to 1000 letters")


def _check_digest(name: str, value: object) -> None:
    fits = isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
    check(name, _short(value), fits, "64 hexadecimal digits")


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
