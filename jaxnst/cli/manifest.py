"""The rows of a batch, from folders and patterns or from a manifest.

A manifest is CSV with a line of names, or JSON Lines. ``content`` and ``style`` are paths relative
to its folder (several styles with ``|`` between them, or as a JSON list), ``output`` is a name in
the folder of results, and the other columns are flags of a run: ``seed``, ``style-weight``. A
recipe's file is relative to the manifest's folder, too.
"""

import csv
import glob
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jaxnst._checks import counted, unknown
from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError
from jaxnst.cli.messages import Messages
from jaxnst.cli.outputs import same_file
from jaxnst.cli.parser import default_output, own_flags
from jaxnst.image import ENDINGS, READ_ENDINGS

MAX_BYTES = 2**28

MOST_ENDINGS = 5
"""Endings of skipped files that a notice lists."""

FLAGS = [flag.removeprefix("--") for flag in own_flags("bits", "dpi", "quality")]
"""Columns beside the pictures and the result: flags of ``jaxnst run`` for a row of its own."""


class Row(NamedTuple):
    """One picture to be made, with flags of its own, and the file and line of the manifest."""

    content: str
    styles: tuple[str, ...]
    output: str
    flags: tuple[str, ...] = ()
    where: str = ""

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Put the row's line of the manifest, if it has one, before errors about its values."""
        try:
            yield
        except ValueError as error:
            raise type(error)(f"{self.where}: " * bool(self.where) + str(error)) from None


def rows_of(
    combinations: Iterable[Sequence[str]],
    folder: str,
    ending: str | Callable[[str], str],
    instead: str = "name the results in a manifest",
) -> list[Row]:
    """Make a row of every content with its styles, named after all of them.

    ``ending`` may be what makes one of the content's path. ``instead`` says in the message what to
    do if two results have one name.

    Raises:
      UsageError: Two results would have one name.
    """
    rows = []
    for content, *styles in combinations:
        name = default_output(
            (content, *styles), ending if isinstance(ending, str) else ending(content)
        )
        rows.append(Row(content, tuple(styles), os.path.join(folder, name)))
    refuse_one_name(rows, instead)
    return rows


def refuse_own_folder(folder: str, sources: Iterable[str]) -> None:
    """Refuse a folder of results that holds inputs: next time, results would be painted.

    Raises:
      UsageError: It holds one.
    """
    if any(same_file(os.path.dirname(source) or os.curdir, folder) for source in sources):
        raise UsageError(f"-o {name_of(folder)} contains inputs: use another folder")


def pictures(
    flag: str, where: str, *, endings: Collection[str] = READ_ENDINGS, what: str = "picture"
) -> list[str]:
    """List the pictures of a folder or a pattern, by name; a file is listed whatever its ending.

    The endings are in lower case; ``flag`` and ``what`` are for the message.

    Raises:
      UsageError: If there is none.
    """
    paths = _files(where)
    if not paths and not is_several(where):
        raise UsageError(f"{flag}: {name_of(where)} does not exist: check the name and the folder")
    if is_several(where):
        paths = [path for path in paths if Path(path).suffix.lower() in endings]
    if not paths:
        raise UsageError(
            f"{flag}: there is no {what} in {name_of(where)}, expected files that end in "
            f"{', '.join(endings)}"
        )
    return paths


def is_several(where: str) -> bool:
    """Return whether this is a folder or a pattern, not a single file."""
    if os.path.exists(where):
        return os.path.isdir(where)
    return glob.has_magic(_folder_and_pattern(where)[1])


def _files(where: str) -> list[str]:
    """List the files of a folder or of a pattern, by name; a file is listed by itself."""
    if os.path.isdir(where):
        # Hidden files are not photographs: macOS puts ._a.jpg beside a.jpg.
        paths = [os.path.join(where, n) for n in os.listdir(where) if not n.startswith(".")]
    elif os.path.exists(where):
        paths = [where]
    else:
        folder, pattern = _folder_and_pattern(where)
        names = glob.glob(pattern, root_dir=folder or None, recursive=True)
        paths = [os.path.join(folder, name) for name in names]
    return sorted(path for path in paths if not os.path.isdir(path))


def _folder_and_pattern(where: str) -> tuple[str, str]:
    """Split a path at the deepest folder that exists by its name, which may have brackets.

    Example:
      >>> _folder_and_pattern("no/such [folder]/*.png")
      ('', 'no/such [folder]/*.png')
    """
    folder, pattern = os.path.split(where)
    while folder and not os.path.isdir(folder):
        parent, last = os.path.split(folder)
        if parent == folder:  # a drive that does not exist
            break
        folder, pattern = parent, os.path.join(last, pattern)
    return folder, pattern


def report_skipped_files(
    places: Iterable[str], messages: Messages, *, endings: Collection[str] = READ_ENDINGS
) -> None:
    """Give notice of files in folders or of patterns that have other endings, in lower case."""
    paths = {path for where in places if is_several(where) for path in _files(where)}
    others = [ending for path in paths if (ending := Path(path).suffix.lower()) not in endings]
    if others:
        messages.notice(skipped_files(others))


def skipped_files(endings: Collection[str]) -> str:
    """Write how many files are skipped; there is an ending for each.

    Example:
      >>> skipped_files([".psd", ".txt", ".psd"])
      'skipped: 3 files of other kinds (.psd, .txt)'
    """
    listed = [ending or "none" for ending in sorted(set(endings))]
    if len(listed) > MOST_ENDINGS:
        listed[MOST_ENDINGS:] = ["..."]
    count = len(endings)
    return f"skipped: {counted(count, 'file')} of other kinds ({', '.join(listed)})"


def refuse_one_name(rows: Sequence[Row], instead: str) -> None:
    """Refuse results that would have one name; ``instead`` says in the message what to do then.

    Raises:
      UsageError: Two of them have one name.
    """
    seen: dict[str, Row] = {}
    for row in rows:
        other = seen.setdefault(os.path.normcase(row.output), row)
        if other is not row:
            raise UsageError(
                f"{name_of(row.output)} would be made twice, from "
                f"{other.where or name_of(other.content)} and from "
                f"{row.where or name_of(row.content)}: {instead}"
            )


def read_manifest(path: str, out: str, ending: str) -> list[Row]:
    """Read the rows of a manifest: CSV if its name ends in ``.csv``, else JSON Lines.

    ``ending`` is for the names of results that the manifest does not name.

    Raises:
      OSError: If it cannot be read.
      UsageError: If a line is wrong, or two results would have one name; names the line.
    """
    if os.path.getsize(path) > MAX_BYTES:
        raise UsageError(f"{name_of(path)} is larger than {MAX_BYTES} bytes: split it")
    rows = []
    for number, fields in _lines(path):
        where = f"{name_of(path)}, line {number}"
        try:
            rows.append(_row(fields, os.path.dirname(path), out, ending)._replace(where=where))
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from None
    if not rows:
        raise UsageError(f"{name_of(path)} has no rows")
    refuse_one_name(rows, "name the results in a manifest")
    return rows


def _lines(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file, strict=True) if path.lower().endswith(".csv") else None
        number = 0
        try:
            if table is not None:
                for fields in table:
                    yield table.line_num, {k: v for k, v in fields.items() if v not in ("", None)}
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, json.loads(line)
        except (csv.Error, ValueError, RecursionError) as error:
            number = number if table is None else table.reader.line_num
            text = f"line {number}: {getattr(error, 'msg', error)}"  # JSON's own line is always 1
            if isinstance(error, UnicodeDecodeError):  # read ahead: its line is not known
                text = str(error)
            raise UsageError(f"{name_of(path)} is not valid CSV or JSON Lines: {text}") from None


def _row(fields: Any, folder: str, out: str, ending: str) -> Row:
    if not isinstance(fields, dict):
        raise ValueError(f"{fields!r} is not a row, expected names with values")
    known = "content", "style", "output", *FLAGS
    if others := [name for name in fields if name not in known]:
        raise ValueError(unknown("column", others[0], known))
    content, style = fields.get("content"), fields.get("style")
    styles = style.split("|") if isinstance(style, str) else style
    if not isinstance(content, str) or not isinstance(styles, list) or not styles:
        raise ValueError("expected a content and a style")
    if not all(isinstance(name, str) and name for name in (content, *styles)):
        raise ValueError(f"content {content!r} and style {style!r} are not paths")
    output = fields.get("output", default_output((content, *styles), ending))
    if not isinstance(output, str) or os.path.basename(output) != output:
        raise ValueError(f"output {output!r} is not a plain file name")
    if Path(output).suffix.lower() not in ENDINGS:
        raise ValueError(f"output {output!r} has none of the extensions {', '.join(ENDINGS)}")
    values = {name: fields[name] for name in FLAGS if fields.get(name) is not None}
    if str(values.get("recipe", "")).lower().endswith(".toml"):
        values["recipe"] = os.path.join(folder, values["recipe"])
    flags = [f"--{name}={value}" for name, value in values.items()]
    return Row(
        os.path.join(folder, content),
        tuple(os.path.join(folder, name) for name in styles),
        os.path.join(out, output),
        tuple(flags),
    )
