"""Inputs: flags are checked against each other, and pictures read, before JAX is imported."""

import difflib
import os
import posixpath
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jaxnst._files import name_of
from jaxnst._memory import available_on_host
from jaxnst.cli.errors import UsageError
from jaxnst.cli.fetching import STREAM, as_files, blaming, check_sources, is_address, shown
from jaxnst.cli.flags import SIZE, check_styles, refuse_folder, report_styles, report_unused_seed
from jaxnst.cli.messages import Messages, amount, quiet_xla, shape
from jaxnst.cli.outputs import check_outputs, report_transparency, result_name
from jaxnst.cli.parser import RunFlags, find_recipe
from jaxnst.image import check_side, keeping_bytes, load_with_notices, reading_bytes, same_shape
from jaxnst.image.color import Pixels
from jaxnst.image.record import ROLES, Source, source_of
from jaxnst.recipes import recipe_on
from jaxnst.recipes.schema import STARTS, Recipe, options
from jaxnst.transfer.change import Change
from jaxnst.transfer.pyramid import Schedule, make_schedule

BEFORE_BYTES = 64 * 2**20
"""Memory of the process while it reads pictures: Python, NumPy and Pillow, not yet JAX."""

ODD = 300
"""Times the recipe's value, or a share of it, from which on a number is pointed out."""

LEAST_BYTES = 256 * 2**20
"""Less than any run takes. Where less is allowed, small pictures are read nevertheless, so that the
run is refused with the memory that it takes."""


@dataclass(frozen=True)
class Pictures:
    """What was read of a run's picture files."""

    content: Pixels
    styles: list[Pixels]
    init: Pixels | None
    masks: list[Pixels] = field(default_factory=list)
    style_masks: list[Pixels] = field(default_factory=list)
    sources: tuple[Source, ...] = ()
    changes: tuple[Change, ...] = ()
    """Changes of options while the picture is painted."""
    reading: int = 0
    """Bytes of the process at the peak of reading them, about."""

    @property
    def bytes(self) -> int:
        """How much memory they take together, about."""
        init = [] if self.init is None else [self.init]
        several = [self.content, *self.styles, *self.masks, *self.style_masks, *init]
        return sum(keeping_bytes(picture.shape) for picture in several)

    def schedule(self, recipe: Recipe, size: int | None, style_size: int | None) -> Schedule:
        """Lay out a run at a size, or at the recipe's own."""
        content, *styles = (p.shape[:2] for p in (self.content, *self.styles))
        return make_schedule(content, styles, recipe.scales, size=size, style_size=style_size)


def check_flags(flags: RunFlags, recipe: Recipe) -> None:
    """Refuse flags that do not go together, and inputs and outputs that cannot be used.

    Raises:
      UsageError: Flags contradict each other, or ask for what does not exist.
      OSError: An output cannot be written.
      ValueError: An output has an unknown ending.
    """
    if flags.other_inputs and flags.record is None:
        raise UsageError("--other-inputs needs --from PICTURE")
    if flags.change and flags.record is None:
        raise UsageError("--change needs --from PICTURE, which was changed while it was painted")
    try:
        side = SIZE if flags.size is None else flags.size
        schedule = make_schedule(
            (side, side), (), recipe.scales, size=flags.size, style_size=flags.style_size
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    refuse_folder(flags.content)
    check_styles(flags)
    near = difflib.get_close_matches(recipe.init, STARTS, 1)
    if near and recipe.init not in STARTS and not os.path.exists(recipe.init):
        raise UsageError(
            f"--init: there is no file {recipe.init}: did you mean {near[0]!r}? expected "
            f"{', '.join(STARTS)} or a picture's path"
        )
    sources = sources_of(flags, recipe)
    check_sources(sources)
    recipe_file = flags.recipe if flags.recipe.lower().endswith(".toml") else None
    sources += filter(None, [flags.weights, recipe_file, flags.origin])
    check_outputs(flags, sources, sum(scale.evaluations for scale in schedule.scales))


def report_flags(flags: RunFlags, recipe: Recipe, messages: Messages) -> None:
    """Give notice of flags without effect, of odd values, and of which picture is the content."""
    report_styles(flags, messages)
    report_unused_seed(flags, recipe, messages)
    report_odd_values(flags, recipe, messages)


def report_odd_values(flags: RunFlags, recipe: Recipe, messages: Messages) -> None:
    """Give notice of numbers that are far from those of the recipe named."""
    base = recipe_on(find_recipe(flags.recipe), flags.network or "") if flags.recipe else None
    if flags.record is not None and base is None:
        base = flags.record.recipe
    usual = options(base or recipe)
    for flag, (_, _, value) in options(recipe).items():
        before = usual[flag][2]
        if not isinstance(value, float) or not isinstance(before, float):
            continue
        times = value / before if value > 0 and before > 0 else 1.0
        if not 1 / ODD < times < ODD:
            ratio = f"{times:,.0f} times" if times > 1 else f"1/{1 / times:,.0f} of"
            messages.notice(
                f"{flag} {value:g} is {ratio} the recipe's {before:g}: weights of other programs "
                "are on another scale"
            )


def sources_of(flags: RunFlags, recipe: Recipe) -> list[str]:
    """List all pictures that the flags name, as they name them."""
    starts = [] if recipe.init in STARTS else [recipe.init]
    masks = *flags.mask, *flags.style_mask
    return [flags.content, *flags.styles, *starts, *masks, *flags.change]


def read_pictures(flags: RunFlags, recipe: Recipe) -> Pictures:
    """Load all pictures that the flags name.

    Raises:
      OSError: One cannot be read or downloaded.
      ValueError: One is not a picture, too small, or too large for the available memory.
      UsageError: Reading one takes more than ``--max-memory``.
    """
    sources: list[Source] = []
    by_digest: dict[str, Pixels] = {}
    kept, peak = BEFORE_BYTES, 0
    with as_files(sources_of(flags, recipe)) as files:

        def read(role: str, source: str, *, least: int = 16, alpha: bool = False) -> Pixels:
            nonlocal kept, peak
            path = files[source]
            with blaming(source, path):
                needed = reading_bytes(path)
                _refuse_too_large(source, needed, kept, flags)
            picture = load_input(source, path, least=least, alpha=alpha)
            with blaming(source, path):
                sources.append(source_of(role, path, name=file_name(source)))
            by_digest[sources[-1].sha256] = picture
            kept, peak = kept + picture.nbytes, max(peak, kept + needed)
            return picture

        pictures = Pictures(
            content=read("content", flags.content, alpha=True),
            styles=[read("style", source, alpha=True) for source in flags.styles],
            init=None if recipe.init in STARTS else read("init", recipe.init),
            masks=[read("mask", source, least=1, alpha=True) for source in flags.mask],
            style_masks=[
                read("style-mask", source, least=1, alpha=True) for source in flags.style_mask
            ],
        )
        count = len(sources)
        for source in flags.change:
            read("change", source, least=1, alpha=True)
    changes = _changes(flags, by_digest, sources[count:])
    return replace(pictures, sources=tuple(sources[:count]), changes=changes, reading=peak)


def _changes(
    flags: RunFlags, by_digest: Mapping[str, Pixels], later: Sequence[Source]
) -> tuple[Change, ...]:
    """Return the changes of a run, with their pictures; ``later`` are files for the changes alone.

    Raises:
      UsageError: A picture is missing, or is for no change.
    """
    wanted = {source.sha256: source for change in flags.changes for source in change.sources}
    for digest, source in wanted.items():
        if digest not in by_digest:
            raise UsageError(
                f"--from: its {source.role} {name_of(source.name)} (SHA-256 {digest[:12]}...), "
                "which came while it was painted, is missing: give it by --change"
            )
    for source in later:
        if source.sha256 not in wanted:
            raise UsageError(
                f"--change {name_of(source.name)} is another file than those that came while the "
                "picture was painted: leave it out"
            )

    def value(name: str, recorded: Any) -> Any:
        return [by_digest[source.sha256] for source in recorded] if name in ROLES else recorded

    return tuple(
        Change(change.evaluation, {name: value(name, v) for name, v in change.options.items()})
        for change in flags.changes
    )


def _refuse_too_large(source: str, needed: int, kept: int, flags: RunFlags) -> None:
    """Refuse a picture whose pixels do not fit in memory, before they are decoded.

    Reading it takes ``needed`` bytes; the process has ``kept`` so far.

    Raises:
      UsageError: It takes more than ``--max-memory``.
      ValueError: It takes more than is available.
    """
    available, allowed, total = available_on_host(), flags.max_memory, kept + needed
    reading, smaller = f"reading {shown(source)} takes about", "make the picture smaller"
    if available is not None and needed > available:
        raise ValueError(
            f"{reading} {amount(needed)} of memory, {amount(available)} is available: {smaller}"
        )
    if allowed is not None and total > max(allowed, LEAST_BYTES) and _on_host(flags):
        raise UsageError(
            f"--max-memory: {reading} {amount(total)} of memory, {amount(allowed)} is allowed: "
            f"{smaller}, or allow more"
        )


def _on_host(flags: RunFlags) -> bool:
    """Return whether ``--max-memory`` is of the host's memory; that starts JAX."""
    quiet_xla(debug=flags.debug)
    from jaxnst.cli.device import use_device

    return use_device(flags.device, deterministic=flags.deterministic).platform == "cpu"


def load_input(source: str, path: str, *, least: int = 16, alpha: bool = True) -> Pixels:
    """Load a picture; errors and warnings name the input of which its file was made.

    Its shorter side must have at least ``least`` pixels.

    Raises:
      OSError: It cannot be read.
      ValueError: It is not a picture, or too small.
    """
    with blaming(source, path):
        picture, notices = load_with_notices(path, alpha=alpha)
        check_side(picture, path, least=least)
    for notice in notices:
        warnings.warn(notice.replace(name_of(path), shown(source)), stacklevel=2)
    return picture


def file_name(source: str) -> str:
    """Name an input without where it is.

    Example:
      >>> file_name("photos/a.jpg"), file_name("https://example.org/b.jpg?key=5"), file_name("-")
      ('a.jpg', 'b.jpg', 'standard input')
    """
    if source == STREAM:
        return shown(source)
    if is_address(source):
        return posixpath.basename(urlsplit(source).path)[:200] or "picture"
    return os.path.basename(source)


def distinct_names(sources: Iterable[str]) -> dict[str, str]:
    """Name inputs without where they are, or with the folders that tell equal names apart.

    Example:
      >>> list(distinct_names(["c/a/mona.jpg", "c/b/mona.jpg", "c/lion.jpg"]).values())
      ['a/mona.jpg', 'b/mona.jpg', 'lion.jpg']
    """
    names = {source: file_name(source) for source in sources}
    for depth in range(2, max((len(Path(source).parts) for source in names), default=0) + 1):
        count = Counter(names.values())
        for source, name in names.items():
            if count[name] > 1:
                names[source] = Path(*Path(source).parts[-depth:]).as_posix()
    return names


def report_sizes(flags: RunFlags, recipe: Recipe, pictures: Pictures, messages: Messages) -> None:
    """Give notice of pictures that are smaller than asked for, stretched, or lose transparency."""
    content, output = pictures.content, result_name(flags.output, flags.format)
    report_transparency(content, flags.content, output, messages)
    result = pictures.schedule(recipe, flags.size, flags.style_size).size
    size, scales = max(result), recipe.scales
    if max(content.shape[:2]) < size:
        messages.notice(
            f"{shown(flags.content)} is {shape(content.shape[:2])}, smaller than the result: it is "
            f"enlarged to {shape(result)}"
        )
    styles = list(zip(flags.styles, pictures.styles, strict=True))
    stretched = [] if scales.aspect is None else [(flags.content, content)]
    stretched += [] if pictures.init is None else [(recipe.init, pictures.init)]
    stretched += styles if scales.style_like_content else []
    for path, picture in stretched:
        if not same_shape(picture.shape[:2], result):
            messages.notice(
                f"{shown(path)} is {shape(picture.shape[:2])}, of another shape than the result: "
                f"it is stretched to {shape(result)}"
            )
    if not scales.style_like_content:
        for path, style in styles:
            wanted = flags.style_size or round(scales.style_scale * size)
            report_small_style(path, style, wanted, messages)


def report_small_style(path: str, style: Pixels, wanted: int, messages: Messages) -> None:
    """Give notice of a style picture that is smaller than the size at which it is used."""
    size = style.shape[0], style.shape[1]
    if max(size) < wanted:
        messages.notice(
            f"{shown(path)} is {shape(size)}, smaller than {wanted} pixels: styles are not "
            "enlarged, so its strokes come out smaller"
        )
