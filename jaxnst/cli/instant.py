"""``jaxnst instant``: pictures in the manner of any painting, in one pass each."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from jaxnst._files import name_of
from jaxnst.cli.errors import UsageError, blaming_flags, guarded
from jaxnst.cli.fetching import STREAM, as_files, check_sources, is_address, shown
from jaxnst.cli.flags import (
    SIZE,
    LoadFlags,
    Parser,
    StyleFlags,
    add_flags,
    check_styles,
    flag,
    read_fields,
    report_styles,
)
from jaxnst.cli.inputs import file_name, load_input
from jaxnst.cli.manifest import (
    Row,
    is_several,
    pictures,
    refuse_own_folder,
    report_skipped_files,
    rows_of,
)
from jaxnst.cli.messages import Messages, length, quiet_xla, shape
from jaxnst.cli.option_types import SIZES, integer, integers, numbers
from jaxnst.cli.outputs import check_format, refuse_meeting
from jaxnst.cli.parser import default_output
from jaxnst.cli.results_log import digest_of_file, digest_of_settings
from jaxnst.cli.series import Series, SeriesFlags
from jaxnst.feedforward.settings import Instant, Transform
from jaxnst.image import check_output, fit
from jaxnst.image.color import Pixels
from jaxnst.image.record import Source, parameters_sha256, source_of
from jaxnst.recipes.schema import ONE_PASS

FILES = ("weights", "decoders")
"""Flags that name a file which decides the result by what it holds."""

NO_MATTER = {"content", "styles", "output", "mask", "style_mask", *FILES}
NO_MATTER |= {"no_metadata", "yes", "overwrite", "device", "no_cache", "quiet", "json", "debug"}
"""Flags that do not affect whether an existing result is up to date."""


@dataclass(frozen=True, kw_only=True)
class MethodFlags:
    """What decides how a picture is painted in one pass."""

    GROUP: ClassVar = "method"

    alpha: tuple[float, ...] = flag(
        "--alpha X",
        "strength of the style, from 0 to 1; several, such as 0.3,0.6,1, are painted side by side "
        "on a labeled sheet",
        (Instant.alpha,),
        read=numbers,
    )
    levels: tuple[int, ...] = flag(
        "--levels A,B,...",
        "levels of the network, in the order in which they run; level 5 changes most, level 1 "
        "only colors",
        Instant.levels,
        read=integers(1, 5),
    )
    transform: Transform = flag(
        "--transform",
        "transfer mean and covariance of the style's features (whiten), or only mean and "
        "deviation of each channel (moments), which is weaker",
        Instant.transform,
    )
    decoders: str | None = flag(
        "--decoders FILE", "file of decoders, made by scripts/train_decoders.py"
    )


@dataclass(frozen=True, kw_only=True)
class InstantFlags(StyleFlags, MethodFlags, SeriesFlags, LoadFlags):
    """All flags of ``jaxnst instant``."""

    output: str = flag(
        "-o --output OUT",
        "file to save the result to, or a folder if CONTENT is a folder or a pattern (default: "
        "CONTENT-STYLE.png in the current folder)",
        "",
    )
    size: int = flag("--size PIXELS", "longest side of the result", SIZE, read=integer(*SIZES))
    style_size: int | None = flag(
        "--style-size PIXELS",
        "longest side to which the styles are scaled; larger means larger strokes (default: that "
        "of the result)",
        read=integer(*SIZES),
    )


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    flags = read_fields(InstantFlags, _parser(prog).read(arguments))
    return guarded(prog, lambda: _run(flags, prog), debug=flags.debug)


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage=f"{prog} CONTENT STYLE [STYLE ...] [-o OUT] [flags]",
        description="Paint pictures in the manner of the style pictures in one pass, without "
        "optimization: about a second each.",
        epilog="jaxnst run takes longer and paints better; jaxnst run --init instant starts from "
        "the picture that this command makes.",
    )
    texts = {
        "content": "picture to paint, a folder of pictures, or a pattern such as '*.jpg'",
        "styles": "one or more pictures to take the style from",
        "network": f"loss network (default: {ONE_PASS})",
    }
    add_flags(parser, InstantFlags, help=texts)
    return parser


def _run(flags: InstantFlags, prog: str) -> int:
    beside = [*flags.styles, *flags.mask, *flags.style_mask]
    check_styles(flags)
    rows, in_folder = _rows(flags, beside)
    check_sources(beside if in_folder else [flags.content, *beside])
    for row in rows:
        check_format(row.output, flags)
    if in_folder and flags.mask:
        raise UsageError("--mask is for one picture, not for a folder of them")
    messages = Messages(prog, quiet=flags.quiet, json=flags.json)
    report_styles(flags, messages)
    if in_folder:
        report_skipped_files([flags.content], messages)
    quiet_xla(debug=flags.debug)
    return Work(rows, flags.output if in_folder else None, flags, messages).run()


def _rows(flags: InstantFlags, beside: list[str]) -> tuple[list[Row], bool]:
    """List what is to be painted, and say whether it goes to a folder.

    The styles are those of all rows, and may be none of this machine's files: they are in no row.
    """
    content = flags.content
    if content == STREAM or is_address(content) or not is_several(content):
        output = flags.output or default_output([content, *flags.styles])
        check_output(output)
        refuse_meeting([("-o", output)], [content, *beside])
        return [Row(content, (), output)], False
    if not flags.output:
        raise UsageError("give a folder for the results: -o FOLDER")
    if os.path.exists(flags.output) and not os.path.isdir(flags.output):
        raise UsageError(f"-o {name_of(flags.output)} is a file, expected a folder for the results")
    contents = pictures("CONTENT", content)
    rows = rows_of(zip(contents), flags.output, flags.ending, "rename one of them")
    refuse_own_folder(flags.output, contents)
    for row in rows:
        refuse_meeting([("-o", row.output)], beside)
    return rows, True


class Work(Series):
    """What reads and paints pictures; the styles are those of all of them."""

    flags: InstantFlags

    def paint_all(self) -> int:
        """Paint what is left; return how many inputs failed."""
        flags = self.flags
        self.beside = (
            [("style", path, 16) for path in flags.styles]
            + [("mask", path, 1) for path in flags.mask]
            + [("style-mask", path, 1) for path in flags.style_mask]
        )
        several = [row.content for row in self.rows if self.folder is None]
        with as_files(several + [path for _, path, _ in self.beside]) as self.files:
            return super().paint_all()

    def settings(self) -> str:
        """Digest all that decides a result but its content."""
        flags = self.flags
        settings = {name: value for name, value in vars(flags).items() if name not in NO_MATTER}
        if len(flags.alpha) == 1:
            settings["alpha"] = flags.alpha[0]
        if flags.no_metadata:
            settings["no_metadata"] = True
        for role in ("styles", "style_mask"):
            settings[role] = [digest_of_file(self.files[path]) for path in getattr(flags, role)]
        for role in FILES:
            path = getattr(flags, role)
            settings[role] = path and digest_of_file(path)
        return digest_of_settings(sorted(settings.items()))

    def facts(self) -> dict[str, Any]:
        """Name the styles, which are in no row."""
        return {"styles": [os.path.basename(shown(style)) for style in self.flags.styles]}

    def read(self, row: Row) -> Pixels:
        """Read a content."""
        return load_input(row.content, self.files.get(row.content, row.content))

    def prepare(self) -> None:
        """Read what all pictures have in common, choose the device and load the network."""
        flags = self.flags
        # What is wrong with pictures is found before anything slow is imported.
        pictures: dict[str, list[Pixels]] = {"style": [], "mask": [], "style-mask": []}
        for role, path, least in self.beside:
            pictures[role].append(load_input(path, self.files[path], least=least))
        self.styles, self.masks = pictures["style"], pictures["mask"]

        from jaxnst.cli.device import keep_programs, use_device
        from jaxnst.cli.loading import load_for
        from jaxnst.feedforward.decoders import BUNDLED, check_decodable, load_autoencoders
        from jaxnst.feedforward.instant import OnePass
        from jaxnst.transfer.style_cache import style_images

        name = flags.network or ONE_PASS
        with blaming_flags():
            self.methods = [
                Instant(alpha=alpha, levels=flags.levels, transform=flags.transform)
                for alpha in flags.alpha
            ]
            check_decodable(name)
        if name not in BUNDLED and flags.decoders is None:
            raise UsageError(
                f"there are no bundled decoders for {name}, only for {', '.join(BUNDLED)}: give "
                "--decoders FILE, made by scripts/train_decoders.py"
            )
        self.device = use_device(flags.device)
        wanted = [f"relu{level}_1" for level in flags.levels]
        why = f", so there is no level {max(flags.levels)}"
        self.network = load_for(name, wanted, flags, why=why)
        self.network_sha256 = parameters_sha256(self.network.params)
        autoencoders = load_autoencoders(self.network, decoders=flags.decoders)
        keep_programs(self.messages.notice, unless=flags.no_cache)
        with blaming_flags():
            self.one_pass = OnePass(
                autoencoders,
                style_images(self.styles),
                self.methods[0],
                size=flags.size,
                style_size=flags.style_size,
                style_mix=flags.mixture,
                style_masks=pictures["style-mask"],
            )

    def paint(self, row: Row, source: Pixels) -> None:
        """Paint and save a picture."""
        from jaxnst.cli.device import clear_programs, refuse_too_large
        from jaxnst.report.contact_sheet import contact_sheet

        begin, flags, width = time.perf_counter(), self.flags, self.one_pass.width
        clear_programs()
        # In whatever precision: maps are transformed in float32, those of the first level as well.
        refuse_too_large(fit(source.shape[:2], flags.size), width, self.device)
        for style in self.styles:
            size = min(max(style.shape[:2]), flags.style_size or flags.size)
            way = "--style-size"
            refuse_too_large(fit(style.shape[:2], size), width, self.device, way=way)
        cells = []
        for method in self.methods:
            self.one_pass.method = method  # it keeps the summaries of the styles
            painted = self.one_pass.paint(source, masks=self.masks)
            cells.append((f"alpha {method.alpha:g}", painted))
        if len(cells) > 1:
            painted = contact_sheet([cells], height=painted.shape[0])
        self.save(
            row,
            painted,
            self.network.name,
            self.network_sha256,
            partial(self.sources, row),
            self.device,
            command="instant",
            alpha=flags.alpha[0] if len(cells) == 1 else ",".join(map(str, flags.alpha)),
            levels=",".join(map(str, flags.levels)),
            transform=flags.transform,
        )
        took = length(time.perf_counter() - begin)
        self.messages.info(f"{name_of(row.content)}: {shape(painted.shape[:2])} in {took}")

    def sources(self, row: Row) -> Iterator[Source]:
        """Describe the files that a picture is made of."""
        decoders = [("decoders", self.flags.decoders)] if self.flags.decoders else []
        beside = [(role, path) for role, path, _ in self.beside]
        for role, path in [("content", row.content), *beside, *decoders]:
            yield source_of(role, self.files.get(path, path), name=file_name(path))
