"""How a picture was made: what it takes to make it again, as JSON text that travels in its file.

A record holds names without their folders, digests and settings; no path, no date, no machine. Text
from a file is treated as hostile: bounded before it is parsed, checked field by field after.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, get_args

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

MAX_BYTES = 60_000
"""Longest text: a JPEG file has no room for more than 65533 bytes in one place."""

MAX_SOURCE = 2**31
"""Longest file that is digested, bytes."""

MOST = 2**53
"""Greatest whole number: beyond it, not every reader of JSON is exact."""

Value: TypeAlias = str | int | float | bool
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
        for key in ("role", "name"):
            _text(key, getattr(self, key))
        _digest("sha256", self.sha256)


@dataclass(frozen=True, kw_only=True)
class Record:
    """All that it takes to make a picture again, but the files themselves.

    Attributes:
      recipe: The method. Where it starts from a picture, ``init`` is that one's name.
      network: Name of the loss network.
      network_sha256: Digest of its parameters; see :func:`parameters_sha256`.
      size: Longest side that was asked for, pixels; None: the recipe's own.
      style_size: Longest side at which the styles were looked at; None: that of the result.
      seed: Of the noise.
      precision: Of the loss network.
      remat: Whether feature maps were computed anew for the gradient.
      platform: What it ran on: ``cpu``, ``gpu`` or ``tpu``.
      threads: On how many threads of a CPU; None if unknown, or not on a CPU.
      sources: The files, in the order in which they were given.
      arguments: Further controls by name, and what they were set to.
      jaxnst: Version that made it.
      jax: Version of JAX that made it.
    """

    recipe: Recipe
    network: str
    network_sha256: str
    size: int | None
    style_size: int | None = None
    seed: int = 0
    precision: Precision = "float32"
    remat: bool = False
    platform: str = "cpu"
    threads: int | None = None
    sources: tuple[Source, ...] = ()
    arguments: Mapping[str, Argument] = field(default_factory=dict, hash=False)
    jaxnst: str = __version__
    jax: str = field(default_factory=lambda: importlib.metadata.version("jax"))

    def __post_init__(self) -> None:
        for key in ("network", "platform", "jaxnst", "jax"):
            _text(key, getattr(self, key))
        _digest("network_sha256", self.network_sha256)
        for key, least in (("size", 1), ("style_size", 1), ("threads", 1), ("seed", 0)):
            value = getattr(self, key)
            if value is not None or key == "seed":
                fits = type(value) is int and least <= value <= MOST
                check(key, _shown(value), fits, f"a whole number, {least} or above")
        fits = self.precision in get_args(Precision)
        check("precision", _shown(self.precision), fits, f"one of {', '.join(get_args(Precision))}")
        check("remat", _shown(self.remat), isinstance(self.remat, bool), "true or false")
        for name, given in self.arguments.items():
            _text("name of an argument", name)
            for value in given if isinstance(given, tuple) else (given,):
                fits = isinstance(value, bool | str | int) or (
                    isinstance(value, float) and math.isfinite(value)
                )
                check(f"argument {name}", _shown(value), fits, "texts or finite numbers")


def source_of(role: str, path: AnyPath, *, name: str | None = None) -> Source:
    """Describe a file by its name and digest.

    Args:
      role: What it is.
      path: Where it is.
      name: What it is called; None: as its path, without the folder.

    Raises:
      OSError: It cannot be read.
      ValueError: It is no plain file, empty or longer than ``MAX_SOURCE``.
    """
    check_source(path, MAX_SOURCE)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    own = os.path.basename(os.fspath(path))
    return Source(role=role, name=own if name is None else name, sha256=digest)


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
    table: dict[str, Any] = {"jaxnst_record": FORMAT}
    for f in dataclasses.fields(record):
        value = getattr(record, f.name)
        if f.name == "recipe":
            value = tomllib.loads(format_recipe(value))
        elif f.name == "sources":
            value = [dataclasses.asdict(source) for source in value]
        elif f.name == "arguments":
            value = dict(sorted(value.items()))
        if value is not None:
            table[f.name] = value
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
    except (ValueError, RecursionError) as error:
        raise _damaged(error) from None
    if not isinstance(table, dict) or (version := table.pop("jaxnst_record", None)) is None:
        raise ValueError("the record is damaged (no version is given)")
    if version != FORMAT or isinstance(version, bool):
        advice = "use the jaxnst that made the picture, or a newer one"
        if version == 1:
            advice = "its network vgg19-lite is gone; paint anew, without --from, on vgg16-lite"
        raise ValueError(f"the record is of version {_shown(version)}, expected {FORMAT}: {advice}")
    try:
        return _record(table)
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(error) from None


def _record(table: dict[str, Any]) -> Record:
    known = {f.name for f in dataclasses.fields(Record)}
    _known("", table, known)
    needed = ("recipe", "network", "network_sha256", "jaxnst", "jax")
    if missing := [key for key in needed if key not in table]:
        raise ValueError(f"{missing[0]} is missing")
    recipe, sources, arguments = (
        table.pop("recipe"),
        table.pop("sources", []),
        table.pop("arguments", {}),
    )
    for name, value, kind in (
        ("recipe", recipe, dict),
        ("sources", sources, list),
        ("arguments", arguments, dict),
    ):
        check(name, _shown(value), isinstance(value, kind), f"a {kind.__name__}")
    return Record(
        recipe=recipe_from(recipe, Recipe()),
        sources=tuple(map(_source, sources)),
        arguments={k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()},
        **{"size": None, **table},
    )


def _damaged(error: Exception) -> ValueError:
    """Say on one line, not too long, what is wrong."""
    text = " ".join(str(error).split())
    return ValueError(f"the record is damaged ({text if len(text) <= 200 else text[:197] + '...'})")


def _source(table: Any) -> Source:
    check("source", _shown(table), isinstance(table, dict), "a dict")
    _known("source's ", table, {f.name for f in dataclasses.fields(Source)})
    return Source(**table)


def _known(of: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    if unknown := [key for key in table if key not in known]:
        raise ValueError(f"{of}{_shown(unknown[0])} is unknown")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{_shown(text)} is no finite number")
    return value


def _int(text: str) -> int:
    if len(text) > 17 or abs(value := int(text)) > MOST:
        raise ValueError(f"{_shown(text)} is too large a number")
    return value


def _text(name: str, value: object) -> None:
    fits = isinstance(value, str) and 0 < len(value) <= 1000
    check(name, _shown(value), fits, "a text of 1 to 1000 letters")


def _digest(name: str, value: object) -> None:
    fits = isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
    check(name, _shown(value), fits, "64 hexadecimal digits")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
