"""``jaxnst apply``: pictures and films painted by a network that was trained for one style.

What is to be painted is worked out before JAX is imported.
"""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from jaxnst import video as film
from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError, guarded
from jaxnst.cli.flags import (
    FileFlags,
    FolderFlags,
    MachineFlags,
    Parser,
    PrintAndExit,
    add_flags,
    flag,
    read_fields,
)
from jaxnst.cli.manifest import (
    Row,
    is_several,
    name_after,
    pictures,
    refuse_one_name,
    report_skipped_files,
)
from jaxnst.cli.messages import Messages, length, quiet_xla, shape
from jaxnst.cli.option_types import SIZES, integer
from jaxnst.cli.outputs import (
    check_format,
    refuse_meeting,
    same_file,
    save_options,
    save_picture,
)
from jaxnst.cli.series import Series
from jaxnst.image import (
    ENDINGS,
    READ_ENDINGS,
    NoPictureError,
    check_output,
    check_side,
    fill_hidden,
    fit,
    holds_alpha,
    load_image,
    resize,
    resize_rgba,
)
from jaxnst.image.color import Pixels
from jaxnst.weights import bundled_styles

KNOWN = (*READ_ENDINGS, *film.ENDINGS)

AT_ONCE = 4
"""Frames of a film that are painted at a time, at most, without ``--batch``."""

PIXELS_AT_ONCE = 4_000_000
"""About as many pixels are painted at a time, if that is more than one frame."""


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    flags = read_fields(ApplyFlags, _parser(prog).read(arguments))
    return guarded(prog, lambda: _run(flags, prog), debug=flags.debug)


@dataclass(frozen=True, kw_only=True)
class ApplyFlags(FileFlags, FolderFlags, MachineFlags):
    """All flags of ``jaxnst apply``."""

    model: str = flag(
        "MODEL",
        "a file of `jaxnst train`, a state dict of pytorch/examples' fast_neural_style, or the "
        "name of one that --list shows",
        ...,
    )
    inputs: list[str] = flag("INPUT", "a picture, a film, a folder or a pattern", ...)
    output: str = flag(
        "-o --output OUT",
        "folder of the results, or the file of a single one; films become .mp4",
        ...,
    )
    size: int | None = flag(
        "--size PIXELS",
        "longest side; what is larger is reduced before (default: as it is)",
        read=integer(*SIZES),
    )
    batch: int | None = flag(
        "--batch N",
        "pictures of a film at a time (default: up to 4, by their size)",
        read=integer(1, 256),
    )


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage=f"{prog} MODEL INPUT [INPUT ...] -o FOLDER|FILE [flags]\n       {prog} --list",
        description="Paint pictures and films in the manner of the one style of a network, in one "
        "pass.",
        epilog="Exit status: 0 all done, 1 an input failed, 2 wrong flags, 130 stopped; into a "
        "folder, the same command paints what is left.",
        allow_abbrev=False,
    )
    text = "list the models that ship, and exit"
    parser.add_argument("--list", action=PrintAndExit, nargs=0, text=_shipped, help=text)
    add_flags(parser, ApplyFlags)
    return parser


def _shipped(_: object) -> str:
    """List the models that ship."""
    from jaxnst.weights import read_parameters

    shipped = bundled_styles()
    if not shipped:
        return "no models ship with this jaxnst: `jaxnst train` makes one"
    width = max(map(len, shipped))
    styles = {name: read_parameters(path)[1].get("style", "") for name, path in shipped.items()}
    return "\n".join(f"{name:<{width}}  {style}".rstrip() for name, style in styles.items())


def _run(flags: ApplyFlags, prog: str) -> int:
    sources = _sources(flags.inputs)
    # What ships goes by its name, unless a file has that name.
    model = flags.model
    if not os.path.isfile(model):
        model = str(bundled_styles().get(model, model))
    messages = Messages(prog, quiet=flags.quiet)
    folder = None if _is_file(flags.output, sources) else flags.output
    if folder is None:
        rows = [Row(sources[0], (model,), flags.output)]
        if is_film(sources[0]):
            try:
                film.check_film(flags.output)
            except ModuleNotFoundError as error:
                raise UsageError(str(error)) from error
        else:
            check_output(flags.output)
    else:
        # Or the next time the command would paint its own results.
        if len(sources) > 1 or is_several(flags.inputs[0]):
            folders = {os.path.dirname(source) or os.curdir for source in sources}
            if any(same_file(place, folder) for place in folders):
                raise UsageError(f"-o {name_of(folder)} is a folder of inputs: name another")
        endings = [film.ENDING if is_film(source) else flags.ending for source in sources]
        rows = [
            Row(source, (model,), os.path.join(folder, name_after((source, model), ending)))
            for source, ending in zip(sources, endings, strict=True)
        ]
        refuse_one_name(rows, "give them in two commands, with two folders")
    for row in rows:
        if not is_film(row.content):
            check_format(row.output, flags)
    report_skipped_files(flags.inputs, messages, endings=KNOWN)
    quiet_xla(debug=flags.debug)
    # All that decides a result but its input and the model.
    decisive = flags.size, flags.precision, sorted(save_options(flags).items())
    settings = hashlib.sha256(repr(decisive).encode()).hexdigest()[:16]
    series = Series(rows, folder, flags, messages)
    work = Work(series, flags, messages)
    return series.run(lambda: series.paint(settings, work.read, work.prepare))


def _sources(places: Sequence[str]) -> list[str]:
    """List the files to be painted: what folders and patterns hold, and those named, once each."""
    sources: list[str] = []
    for place in places:
        if is_several(place):
            sources += pictures("INPUT", place, endings=KNOWN, what="picture or film")
        else:  # if it is missing, or no picture, only its own row fails
            sources.append(place)
    return list(dict.fromkeys(sources))


def _is_file(output: str, sources: Sequence[str]) -> bool:
    """Return whether the output is a single result's file, not a folder.

    Raises:
      UsageError: It is a file, and there are several inputs, or it is an input, or it could be
        either.
    """
    ending = Path(output).suffix.lower()
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        return False
    if output == "-":
        raise UsageError("-o - is no folder or file: results of apply do not go to standard output")
    known, exists = ending in KNOWN, os.path.exists(output)
    if len(sources) > 1 and (known or exists):
        raise UsageError(
            f"-o {name_of(output)} is a file, but there are {len(sources)} inputs: name a folder"
        )
    refuse_meeting([("-o", output)], sources)
    if len(sources) == 1 and ending and not known and not exists:
        raise UsageError(
            f"-o {name_of(output)} has the ending {ending}, expected one of "
            f"{', '.join((*ENDINGS, *film.ENDINGS))}: if it is to be a folder, say "
            f"{name_of(output)}/"
        )
    return len(sources) == 1 and (known or exists)


def is_film(path: str) -> bool:
    """Return whether a file is a film, by its ending."""
    return Path(path).suffix.lower() in film.ENDINGS


class Work:
    """What reads and paints the inputs of a series."""

    def __init__(self, series: Series, flags: ApplyFlags, messages: Messages) -> None:
        self.series, self.flags, self.messages = series, flags, messages

    def prepare(self) -> Callable[[Row, Pixels | film.Film], None]:
        """Choose the device, load the model, and return what paints an input."""
        from jaxnst.cli.device import keep_programs, use_device
        from jaxnst.feedforward import load_model

        self.device = use_device(self.flags.device)
        if not self.flags.no_cache:
            keep_programs(self.messages.notice)
        model = load_model(self.series.rows[0].styles[0])
        self.model = replace(model, module=model.module.clone(precision=self.flags.precision))
        return self.paint

    def read(self, row: Row) -> Pixels | film.Film:
        """Read a picture, reduced to ``--size``, or what there is to know of a film."""
        if is_film(row.content):
            try:
                return film.read_film(row.content)
            except ModuleNotFoundError as error:
                raise UsageError(str(error)) from error
        try:
            picture = load_image(row.content, alpha=True)
        except NoPictureError as error:
            if Path(row.content).suffix.lower() in READ_ENDINGS:
                raise
            raise ValueError(
                f"{name_of(row.content)} is neither a picture nor a film by its ending, expected "
                f"one of {', '.join(KNOWN)}"
            ) from error
        size = self.flags.size
        if size is not None and size < max(picture.shape[:2]):
            reduce = resize_rgba if picture.shape[2] == 4 else resize
            picture = reduce(picture, fit(picture.shape[:2], size)).clip(0, 1)
        check_side(picture, row.content)
        return picture

    def paint(self, row: Row, source: Pixels | film.Film) -> None:
        """Paint and save an input."""
        if not isinstance(source, film.Film):
            self._paint_picture(row, source)
            return
        self.series.idle.clear()
        self._paint_film(row, source)

    def _paint_picture(self, row: Row, picture: Pixels) -> None:
        """Paint and save a picture, with its transparency if the file can hold it."""
        from jaxnst.cli.device import clear_programs, refuse_too_large
        from jaxnst.feedforward import apply_model

        clear_programs()
        module, transparent = self.model.module, picture.shape[2] == 4
        width, precision = module.widths[0], module.precision
        refuse_too_large(picture.shape[:2], width, self.device, precision=precision)
        opaque = fill_hidden(picture) if transparent else picture
        painted = np.asarray(apply_model(self.model, opaque))
        if transparent:
            painted = np.concatenate([painted, picture[..., 3:]], axis=-1)
            if not holds_alpha(row.output):
                self.messages.notice(
                    f"{name_of(row.content)} is transparent, which {name_of(row.output)} cannot "
                    "be: the result is laid on white; .png, .webp and .tif keep it"
                )
        save_picture(row.output, painted, **save_options(self.flags))

    def _paint_film(self, row: Row, facts: film.Film) -> None:
        """Paint and save a film."""
        from jaxnst.cli.device import refuse_too_large
        from jaxnst.feedforward import paint_frames

        size = facts.fitting(self.flags.size)
        batch = self.flags.batch or max(1, min(AT_ONCE, PIXELS_AT_ONCE // (size[0] * size[1])))
        width, precision = self.model.module.widths[0], self.model.module.precision
        way = "--size or --batch" if batch > 1 else "--size"
        refuse_too_large(size, width, self.device, batch=batch, precision=precision, way=way)
        for notice in film.repaint(
            row.content,
            row.output,
            partial(paint_frames, self.model),
            film=facts,
            size=size,
            batch=batch,
            on_progress=self.film_progress(row, facts, size),
        ):
            self.messages.notice(notice)

    def film_progress(
        self, row: Row, facts: film.Film, size: tuple[int, int]
    ) -> Callable[[int], None]:
        """Return what reports, given how many frames are done, and ends the work if stopped."""
        first: tuple[int, float] | None = None

        def report(done: int) -> None:
            nonlocal first
            if self.series.stopped.is_set():
                raise InterruptedError("the command was stopped")
            now = time.monotonic()
            first = first or (done, now)  # before that, it was compiled
            of = "" if facts.count is None else f"/{facts.count}"
            text = f"{name_of(row.content)}: {done}{of} pictures of {shape(size)}"
            if facts.count and done > first[0]:
                left = max(0, facts.count - done) * (now - first[1]) / (done - first[0])
                text += f", {length(left)} left"
            self.messages.now_and_then(text)

        return report
