"""``jaxnst apply``: pictures and films painted by a network that was trained for one style.

What is to be painted is worked out before JAX is imported.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from jaxnst import video as film
from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError, guarded
from jaxnst.cli.flags import MachineFlags, Parser, PrintAndExit, add_flags, flag, read_fields
from jaxnst.cli.manifest import (
    Row,
    is_several,
    pictures,
    refuse_own_folder,
    report_skipped_files,
    rows_of,
)
from jaxnst.cli.messages import Messages, quiet_xla, shape
from jaxnst.cli.option_types import SIZES, integer
from jaxnst.cli.outputs import check_format, refuse_meeting, report_transparency, save_options
from jaxnst.cli.parser import default_output
from jaxnst.cli.results_log import digest_of_settings
from jaxnst.cli.series import Series, SeriesFlags
from jaxnst.image import (
    ENDINGS,
    READ_ENDINGS,
    NoPictureError,
    check_output,
    check_side,
    fill_hidden,
    fit,
    load_image,
    resize,
    resize_rgba,
)
from jaxnst.image.color import Pixels
from jaxnst.image.record import parameters_sha256, source_of
from jaxnst.weights import bundled_styles

KNOWN = (*READ_ENDINGS, *film.ENDINGS)
WRITTEN = (*ENDINGS, *film.ENDINGS)

AT_ONCE = 4
"""Frames of a film that are painted at a time, at most, without ``--batch``."""

PIXELS_AT_ONCE = 4_000_000
"""About as many pixels are painted at a time, if that is more than one frame."""


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    flags = read_fields(ApplyFlags, _parser(prog).read(arguments))
    return guarded(prog, lambda: _run(flags, prog), debug=flags.debug)


@dataclass(frozen=True, kw_only=True)
class ApplyFlags(SeriesFlags, MachineFlags):
    """All flags of ``jaxnst apply``."""

    model: str = flag(
        "MODEL",
        "file made by jaxnst train, a state dict of pytorch/examples' fast_neural_style, or a "
        "name that --list shows",
        ...,
    )
    inputs: list[str] = flag(
        "INPUT", "picture or film to paint, a folder of them, or a pattern", ...
    )
    output: str = flag(
        "-o --output OUT",
        "folder to save the results in, or the file of a single result; films become .mp4 "
        "(default: INPUT-MODEL.png, or .mp4, in the current folder)",
        "",
    )
    size: int | None = flag(
        "--size PIXELS",
        "longest side of the results; larger inputs are reduced first (default: as they are)",
        read=integer(*SIZES),
    )
    batch: int | None = flag(
        "--batch N",
        "paint this many frames of a film at a time (default: up to 4, depending on their size)",
        read=integer(1, 256),
    )


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage=f"{prog} MODEL INPUT [INPUT ...] [-o FOLDER|FILE] [flags]\n       {prog} --list",
        description="Paint pictures and films with a network trained for one style, in one pass.",
        epilog="If OUT is a folder and the command is stopped, or an input fails, the same command "
        "paints what is left. Exit status: 0 all done; 1 an input failed; 2 wrong flags; 130 "
        "stopped.",
    )
    text = "list the bundled models and exit"
    parser.add_argument("--list", action=PrintAndExit, nargs=0, text=_shipped, help=text)
    add_flags(parser, ApplyFlags)
    return parser


def _shipped(_: object) -> str:
    """List the models that ship."""
    from jaxnst.weights import read_parameters

    shipped = bundled_styles()
    if not shipped:
        return "this jaxnst has no bundled models: jaxnst train makes one"
    width = max(map(len, shipped))
    styles = {name: read_parameters(path)[1].get("style", "") for name, path in shipped.items()}
    return "\n".join(f"{name:<{width}}  {style}".rstrip() for name, style in styles.items())


def _run(flags: ApplyFlags, prog: str) -> int:
    sources = _sources(flags.inputs)
    # What ships goes by its name, unless a file has that name.
    model = flags.model
    if model.lower().endswith(KNOWN):
        raise UsageError(
            f"{name_of(model)} is not a model: give the model first, then the pictures; to paint "
            "in the manner of a picture, use jaxnst run or jaxnst instant"
        )
    if not os.path.isfile(model):
        model = str(bundled_styles().get(model, model))
    messages = Messages(prog, quiet=flags.quiet, json=flags.json)
    output = flags.output
    if not output:
        if len(sources) > 1 or is_several(flags.inputs[0]):
            raise UsageError("give a folder for the results: -o FOLDER")
        ending = film.ENDING if is_film(sources[0]) else flags.ending
        output = default_output((*sources, model), ending)
    folder = None if not flags.output or _is_file(output, sources) else output
    if folder is None:
        rows = [Row(sources[0], (model,), output)]
        if is_film(sources[0]):
            try:
                film.check_film(output)
            except ModuleNotFoundError as error:
                raise UsageError(str(error)) from error
        else:
            check_output(output)
    else:
        if len(sources) > 1 or is_several(flags.inputs[0]):
            refuse_own_folder(folder, sources)
        rows = rows_of(
            ((source, model) for source in sources),
            folder,
            lambda source: film.ENDING if is_film(source) else flags.ending,
            "use two commands, with two folders",
        )
    for row in rows:
        if not is_film(row.content):
            check_format(row.output, flags)
    report_skipped_files(flags.inputs, messages, endings=KNOWN)
    quiet_xla(debug=flags.debug)
    return Work(rows, folder, flags, messages).run()


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
        raise UsageError("-o -: jaxnst apply does not write to standard output: use another name")
    known, exists = ending in WRITTEN, os.path.exists(output)
    if len(sources) > 1 and (known or exists):
        raise UsageError(
            f"-o {name_of(output)} is a file, but there are {len(sources)} inputs: name a folder"
        )
    refuse_meeting([("-o", output)], sources)
    if len(sources) == 1 and ending and not known and not exists:
        raise UsageError(
            f"-o {name_of(output)} has the extension {ending}, expected one of "
            f"{', '.join(WRITTEN)}: for a folder of that name, give {name_of(output)}/"
        )
    return len(sources) == 1 and (known or exists)


def is_film(path: str) -> bool:
    """Return whether a file is a film, by its ending."""
    return Path(path).suffix.lower() in film.ENDINGS


class Work(Series):
    """What reads and paints pictures and films."""

    flags: ApplyFlags

    def settings(self) -> str:
        """Digest all that decides a result but its input and the model."""
        flags = self.flags
        decisive = flags.size, flags.precision, sorted(save_options(flags).items())
        return digest_of_settings(decisive + ("no metadata",) * flags.no_metadata)

    def prepare(self) -> None:
        """Choose the device and load the model."""
        from jaxnst.cli.device import keep_programs, use_device
        from jaxnst.feedforward import load_model

        self.device = use_device(self.flags.device)
        keep_programs(self.messages.notice, unless=self.flags.no_cache)
        model = load_model(self.rows[0].styles[0])
        self.model_sha256 = parameters_sha256(model.params)
        self.model = replace(model, module=model.module.clone(precision=self.flags.precision))

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
                f"{name_of(row.content)} has the extension of neither a picture nor a film, "
                f"expected one of {', '.join(KNOWN)}"
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
        self.idle.clear()
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
            report_transparency(picture, row.content, row.output, self.messages)
        files = ("content", row.content), ("model", row.styles[0])
        self.save(
            row,
            painted,
            self.model.name,
            self.model_sha256,
            lambda: [source_of(role, path) for role, path in files],
            self.device,
            command="apply",
        )

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
            on_progress=self.film_progress(facts, size),
        ):
            self.messages.notice(notice)

    def film_progress(self, facts: film.Film, size: tuple[int, int]) -> Callable[[int], None]:
        """Return what reports, given how many frames are done, and ends the work if stopped."""

        def report(done: int) -> None:
            if self.stopped.is_set():
                raise InterruptedError("the command was stopped")
            of, share = ("", 0.0) if not facts.count else (f"/{facts.count}", done / facts.count)
            self.report(min(1.0, share), f"{done}{of} frames of {shape(size)}")

        return report
