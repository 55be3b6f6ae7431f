"""The state of a studio session: pictures, settings, painting, versions and jobs; no HTTP here.

All pages show the same session. Its methods may be called from any thread; they return when what
was asked for is under way, and raise errors of one line.
"""

import contextlib
import dataclasses
import math
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jaxnst._files import AnyPath, reason
from jaxnst._memory import available_on_host
from jaxnst.image import READ_ENDINGS, check_side, image_size, load_image, reading_bytes
from jaxnst.image.color import Pixels
from jaxnst.image.exchange import jpeg_bytes
from jaxnst.image.record import ROLES as PICTURES
from jaxnst.image.record import Record, Source, parameters_sha256, source_of
from jaxnst.networks import load_network
from jaxnst.recipes.schema import option_name, options, override
from jaxnst.report.contact_sheet import contact_sheet, on_white
from jaxnst.studio.controls import LARGEST, METHOD, SIZE, read_value, recipe_of, written
from jaxnst.studio.painting import Painting
from jaxnst.studio.versions import Version, Versions, shrunk
from jaxnst.transfer.batch import BatchProgress, stylize_batch
from jaxnst.transfer.pyramid import Schedule, make_schedule
from jaxnst.transfer.result import Progress

SHOWN = 1600
"""Longest side of pictures that are sent to the page, pixels."""

MOST_STYLES = 4

MOST_LOSSES = 200
"""Points of the chart of losses."""

SWEEP = (1 / 3, 1.0, 3.0)
"""Factors of the two numbers that a sweep varies."""

SWEEP_SIZE = 192

COALESCE_SECONDS = 2.0
"""Changes of one setting within this time are undone together, as when a slider is dragged."""

network_of = cache(load_network)
"""Loads a network once."""


@dataclass(frozen=True, eq=False)
class Input:
    """An input picture: the photograph, a painting whose style is used, or the mask.

    Its source says what it is, its name and digest, as records have it.
    """

    source: Source
    path: Path
    size: tuple[int, int]

    @property
    def key(self) -> str:
        """The beginning of its digest."""
        return self.source.sha256[:16]


@dataclass(frozen=True)
class State:
    """Everything that determines a painting; undo restores an earlier one of these.

    Without a mask the style goes everywhere. Settings are those that differ from the recipe's.
    """

    content: Input | None = None
    styles: tuple[Input, ...] = ()
    mask: Input | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether both a photograph and at least one painting are set."""
        return self.content is not None and bool(self.styles)

    @property
    def keys(self) -> tuple[str | None, list[str], str | None]:
        """Which pictures they are: photograph, paintings, mask."""
        content, mask = (None if i is None else i.key for i in (self.content, self.mask))
        return content, [style.key for style in self.styles], mask

    @property
    def pictures(self) -> list[Input]:
        """All of them."""
        return [i for i in (self.content, *self.styles, self.mask) if i is not None]


@dataclass
class Job:
    """Background work that produces a version while the painting is paused."""

    number: int
    label: str
    work: Callable[["Job"], Version]
    share: float = 0.0
    status: str = "waiting"
    error: str | None = None

    def report(self, share: float) -> None:
        """Set the share of the work that is done; raise if the job was canceled."""
        self.share = share
        if self.status == "canceled":
            raise InterruptedError("canceled")


class Session:
    """The pictures, settings, painting, versions and jobs of a studio.

    ``changed`` is called after everything that a page should show, from any thread, and must not
    block; ``before`` is called before another painting begins.
    """

    def __init__(
        self,
        folder: AnyPath,
        *,
        settings: Mapping[str, Any] | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.versions, self._before = Versions(folder), before
        self.changed: Callable[[], None] = lambda: None
        self.state = State(settings=dict(settings or {}))
        self.painting: Painting | None = None
        self.jobs: list[Job] = []
        self._past: list[State] = []
        self._last_change: tuple[float, frozenset[str]] = (0.0, frozenset())
        self._losses: list[tuple[int, dict[str, float]]] = []
        self._pace = _Pace()
        self._paintings = 0
        self._inputs: dict[str, Input] = {}  # by path
        self._kept: tuple[Painting, int] | None = None
        self._lock = threading.RLock()
        self._queue: queue.Queue[Job] = queue.Queue()
        self._uploads = tempfile.TemporaryDirectory(prefix="jaxnst-studio-")
        threading.Thread(target=self._work, name="jaxnst-studio-jobs", daemon=True).start()

    # --- pictures --------------------------------------------------------------------------------

    def upload_path(self, name: str) -> str:
        """Return where an upload may be written; of its name only a known ending is kept."""
        ending = os.path.splitext(name)[1].lower()
        handle, path = tempfile.mkstemp(
            suffix=ending if ending in READ_ENDINGS else ".png", dir=self._uploads.name
        )
        os.close(handle)
        return path

    def put(self, role: str, path: AnyPath, *, name: str, at: int | None = None) -> str:
        """Add or replace a picture, and start painting once a photograph and a painting are set.

        ``at`` is the index of the style to replace; None adds another. The beginning of the
        picture's digest is returned, by which pages know pictures.

        Raises:
          ValueError: It is not a picture, too small or too large, or there are too many styles.
        """
        picture = read_input(role, path, name)
        with self._lock:
            self._inputs[os.fspath(path)] = picture
            now = self.state
            if role == "content":
                state = dataclasses.replace(now, content=picture, mask=None)
            elif role == "mask":
                state = dataclasses.replace(now, mask=picture)
            else:
                index = len(now.styles) if at is None else at
                if not 0 <= index < MOST_STYLES:
                    raise ValueError(f"there are {MOST_STYLES} paintings: replace one of them")
                styles = (*now.styles[:index], picture, *now.styles[index + 1 :])
                state = _with_styles(now, styles)
            self._apply(state)
        return picture.key

    def remove_style(self, index: int) -> None:
        """Leave out one of several paintings."""
        with self._lock:
            styles = self.state.styles
            if len(styles) < 2 or not 0 <= index < len(styles):
                raise ValueError("a painting is left out only where there are several")
            self._apply(_with_styles(self.state, styles[:index] + styles[index + 1 :]))

    def clear_mask(self) -> None:
        """Apply the style everywhere."""
        with self._lock:
            self._apply(dataclasses.replace(self.state, mask=None))

    def picture(self, role: str, index: int) -> bytes:
        """Return the photograph or a painting as a JPEG file, smaller if it is large.

        Raises:
          KeyError: There is no such picture.
        """
        state = self.state
        pictures: dict[str, tuple[Input | None, ...]]
        pictures = {"content": (state.content,), "style": state.styles, "mask": (state.mask,)}
        several = pictures.get(role, ())
        if not 0 <= index < len(several) or (picture := several[index]) is None:
            raise KeyError("there is no such picture")
        return jpeg_bytes(shrunk(load_image(picture.path), SHOWN))

    # --- settings --------------------------------------------------------------------------------

    def set(self, values: Mapping[str, Any]) -> None:
        """Change settings; None sets one back to the recipe's.

        Raises:
          KeyError: There is no such recipe.
          TypeError: There is no such setting.
          ValueError: A value is of the wrong type or out of range.
        """
        with self._lock:
            before = self.state.settings
            settings = {**before, **{key: read_value(key, v) for key, v in values.items()}}
            if {"recipe", "network"} & values.keys():  # numbers of another recipe mean other things
                kept = ("recipe", "network", "size", "seed", "style_mix")
                settings = {key: value for key, value in settings.items() if key in kept}
            settings = {key: value for key, value in settings.items() if value is not None}
            check_settings(settings, len(self.state.styles))
            same = frozenset(values) == self._last_change[1]
            recent = time.monotonic() - self._last_change[0] < COALESCE_SECONDS
            self._apply(
                dataclasses.replace(self.state, settings=settings), undoable=not (same and recent)
            )
            self._last_change = time.monotonic(), frozenset(values)

    def undo(self) -> None:
        """Take the last change back."""
        with self._lock:
            if self._past:
                self._apply(self._past.pop(), undoable=False)
                self._last_change = 0.0, frozenset()

    def back_to(self, number: int) -> None:
        """Return to the pictures and settings of a version."""
        with self._lock:
            self._apply(self._state_of(self.versions[number]))

    def _state_of(self, version: Version) -> State:
        if version.record is None or version.kind != "picture":
            raise ValueError(f"version {version.number} does not say how it was made")
        loaded = {picture.source.sha256: picture for picture in self._inputs.values()}
        inputs = []
        for source in version.record.final_sources:
            if (same := loaded.get(source.sha256)) is not None:
                inputs.append(dataclasses.replace(same, source=source))
            else:
                path = self.versions.picture(source.sha256)
                inputs.append(Input(source, path, image_size(path)))
                self._inputs[os.fspath(path)] = inputs[-1]
        roles = {role: [i for i in inputs if i.source.role == role] for role in ROLES}
        return State(
            content=roles["content"][0],
            styles=tuple(roles["style"]),
            mask=next(iter(roles["mask"]), None),
            settings=settings_of(version.record),
        )

    # --- the painting ----------------------------------------------------------------------------

    def _apply(self, state: State, *, undoable: bool = True) -> None:
        """Switch to a state: update the running painting if possible, else start a new one."""
        before, painting = self.state, self.painting
        restart = state.ready
        if painting is not None and painting.status not in ("failed", "stopped"):
            changes = changes_between(before, state)
            restart = changes is None
            try:
                if changes:
                    painting.update(**changes)
            except ValueError:  # it would change the sizes of the scales, or is refused again
                restart = True
        self.state = state
        if restart:
            try:
                self.restart()
            except Exception:
                self.state = before
                raise
        if undoable and before.ready:
            self._past = [*self._past[-99:], before]
        self.changed()

    def restart(self) -> None:
        """Start the painting over with the current settings."""
        with self._lock:
            state = self.state
            if state.content is None or not state.styles:
                raise ValueError("a painting needs a photograph and a painting: drop both")
            self._before()
            losses: list[tuple[int, dict[str, float]]] = []
            schedule = self._schedule(state)

            def listen(painting: Painting) -> None:
                progress = painting.progress
                if progress is not None and progress.losses:
                    if not losses or losses[-1][0] != progress.total_done:
                        losses.append((progress.total_done, progress.losses))
                    if len(losses) > MOST_LOSSES:
                        del losses[1::2]
                self.changed()

            content, styles, arguments = self._arguments(state)
            painting = Painting(content, styles, listener=listen, **arguments)
            if self.painting is not None:
                self.painting.stop(timeout=0)  # it ends after its chunk
            self.painting = painting
            self._losses, self._pace = losses, _Pace(schedule)
            self._paintings += 1
            self.changed()

    def pause(self) -> None:
        """Pause the painting."""
        if self.painting is not None:
            self.painting.pause()

    def resume(self) -> None:
        """Continue the painting."""
        if self.painting is not None:
            self.painting.resume()

    def frame(self) -> bytes:
        """Return the painting as it stands, as a JPEG file.

        Raises:
          KeyError: There is none.
        """
        painting = self.painting
        if painting is None or painting.progress is None:
            raise KeyError("there is no painting yet")
        return jpeg_bytes(shrunk(on_white(painting.image()), SHOWN), quality=90)

    def _arguments(self, state: State) -> tuple[Path, list[Path], dict[str, Any]]:
        """Return the arguments of ``stylize`` for a state."""
        assert state.content is not None
        recipe, values = recipe_of(state.settings), values_of(state.settings)
        arguments = {name: values[name] for name in ("size", "seed", "style_mix")}
        arguments |= {"recipe": recipe, "network": network_of(recipe.network)}
        arguments["masks"] = [] if state.mask is None else [state.mask.path]
        return state.content.path, [style.path for style in state.styles], arguments

    def _schedule(self, state: State) -> Schedule:
        assert state.content is not None
        styles, scales = [style.size for style in state.styles], recipe_of(state.settings).scales
        size = values_of(state.settings)["size"]
        return make_schedule(state.content.size, styles, scales, size=size)

    # --- versions and jobs -----------------------------------------------------------------------

    def keep(self) -> Version:
        """Keep the painting as it stands as a version.

        Raises:
          ValueError: There is no step of it yet.
          OSError: It cannot be written.
        """
        painting = self.painting
        if painting is None or painting.progress is None or not painting.progress.total_done:
            raise ValueError("there is nothing to keep yet: wait for the first step")
        version, self._kept = self._save(painting)
        return version

    def keep_unless_kept(self) -> Version | None:
        """Keep the painting at the end of a session, unless it is kept or has hardly begun."""
        painting = self.painting
        done = 0 if painting is None or painting.progress is None else painting.progress.total_done
        with contextlib.suppress(ValueError):
            return self.keep() if done and (painting, done) != self._kept else None
        return None

    def _save(self, painting: Painting) -> tuple[Version, tuple[Painting, int]]:
        """Save a painting as a version, and return at which evaluation it is."""
        result = painting.result()
        version = self._add(result.image, painting.record(result))
        return version, (painting, result.evaluations)

    def _add(self, image: Pixels, record: Record) -> Version:
        """Save a version, and copies of the pictures that it is made of, under their own names."""
        inputs = {picture.source.sha256: picture for picture in list(self._inputs.values())}

        def named(sources: tuple[Source, ...]) -> tuple[Source, ...]:
            for source in sources:
                self.versions.keep_picture(source.sha256, inputs[source.sha256].path)
            return tuple(
                dataclasses.replace(source, name=inputs[source.sha256].source.name)
                for source in sources
            )

        changes = []
        for change in record.changes:
            pictures = {k: named(v) for k, v in change.options.items() if k in PICTURES}
            changes.append(dataclasses.replace(change, options={**change.options, **pictures}))
        record = dataclasses.replace(record, sources=named(record.sources), changes=tuple(changes))
        version = self.versions.add(image, record)
        self.changed()
        return version

    def remove(self, number: int) -> None:
        """Move a version to the folder ``deleted``."""
        self.versions.remove(number)
        self.changed()

    def larger(self, number: int, size: int) -> None:
        """Paint a version at another size, as a job; in tiles where memory asks for them."""
        version = self.versions[number]
        if not 16 <= size <= LARGEST:
            raise ValueError(f"size is {size}, expected 16 to {LARGEST} pixels")
        state = self._state_of(version)
        settings = {k: v for k, v in state.settings.items() if k != "scales"} | {"size": size}
        state = dataclasses.replace(state, settings=settings)

        def work(job: Job) -> Version:
            schedule, ended = self._schedule(state), threading.Event()

            def listen(painting: Painting) -> None:
                if (progress := painting.progress) is not None:
                    part = progress.evaluations / progress.scale_evaluations
                    job.share = schedule.share(progress.scale, part)
                if job.status == "canceled" or painting.status in ("finished", "failed"):
                    ended.set()
                self.changed()

            content, styles, arguments = self._arguments(state)
            painting = Painting(content, styles, listener=listen, tile="auto", **arguments)
            try:
                ended.wait()
                job.report(1.0)
                if painting.error:
                    raise ValueError(painting.error)
                return self._save(painting)[0]
            finally:
                painting.stop(timeout=0)

        self._begin(f"Version {number} at {size} px", work)

    def sweep(self, names: tuple[str, str]) -> None:
        """Paint a sheet of variations around the current settings, as a job.

        Two options of recipes that are numbers vary, the first from left to right.
        """
        state = self.state
        if not state.ready:
            raise ValueError("a sheet needs a photograph and a painting: drop both")
        settings = {key: value for key, value in state.settings.items() if key != "scales"}
        recipe, values = recipe_of(settings), values_of(settings)
        for name in names:
            if not _number(values.get(name)) or values[name] == 0:
                raise ValueError(f"{name} cannot be swept, expected a number other than 0")
        pairs = [
            {names[0]: values[names[0]] * x, names[1]: values[names[1]] * y}
            for y in SWEEP
            for x in SWEEP
        ]

        def work(job: Job) -> Version:
            content, styles, arguments = self._arguments(state)
            masks = [load_image(path, alpha=True) for path in arguments["masks"]]
            arguments |= {"size": SWEEP_SIZE, "masks": [masks] * len(pairs)}
            arguments["recipe"] = [override(recipe, pair) for pair in pairs]

            def report(progress: BatchProgress) -> None:
                job.report(progress.done / progress.total)

            results = stylize_batch(
                [content] * len(pairs), [styles] * len(pairs), callback=report, **arguments
            )
            labels = [", ".join(f"{_words(k)} {v:.3g}" for k, v in pair.items()) for pair in pairs]
            cells = [(text, r.image) for text, r in zip(labels, results, strict=True)]
            rows = [cells[i : i + len(SWEEP)] for i in range(0, len(cells), len(SWEEP))]
            sheet = contact_sheet(rows, height=results[0].image.shape[0])
            network = arguments["network"]
            record = Record(
                recipe=None,
                network=network.name,
                network_sha256=parameters_sha256(network.params),
                size=SWEEP_SIZE,
                sources=tuple(picture.source for picture in state.pictures),
                arguments={"command": "sweep", "cells": tuple(labels)},
            )
            return self._add(sheet, record)

        self._begin("Sheet of variations", work)

    def cancel(self, number: int) -> None:
        """Cancel a job, or remove one that failed from the list."""
        for job in self.jobs:
            if job.number == number:
                job.status = "canceled"
        self.jobs = [job for job in self.jobs if job.status != "canceled"]
        self.changed()

    def _begin(self, label: str, work: Callable[[Job], Version]) -> None:
        with self._lock:
            number = max((job.number for job in self.jobs), default=0) + 1
            self.jobs = [*self.jobs, Job(number, label, work)]
            self._queue.put(self.jobs[-1])
        self.changed()

    def _work(self) -> None:
        """Do the jobs one after the other; the painting is paused meanwhile."""
        while True:
            job = self._queue.get()
            if job.status == "canceled":
                continue
            job.status = "running"
            self.changed()
            painting = self.painting
            resting = painting is not None and painting.status in ("compiling", "painting")
            if painting is not None and resting:
                painting.pause()
            try:
                job.work(job)
                self.jobs = [other for other in self.jobs if other is not job]
            except InterruptedError:
                pass
            except Exception as error:  # of any kind: the page reports it
                job.status, job.error = "failed", reason(error)
            if painting is not None and resting:
                painting.resume()
            self.changed()

    # --- what pages show -------------------------------------------------------------------------

    def view(self) -> dict[str, Any]:
        """Describe everything that a page shows, for JSON."""
        state, painting = self.state, self.painting
        status = "empty" if painting is None else painting.status
        progress = None if painting is None else painting.progress  # not older than the status
        values = {name: written(value) for name, value in values_of(state.settings).items()}
        values["style_mix"] = list(values["style_mix"] or [1.0] * len(state.styles))
        return {
            "content": _shown(state.content),
            "styles": [_shown(style) for style in state.styles],
            "mask": _shown(state.mask),
            "values": values,
            "status": status,
            "error": None if painting is None else painting.error,
            "started": self._paintings,
            "pending": [] if painting is None else sorted(painting.pending),
            "progress": None if progress is None else _progress(progress, self._pace),
            "losses": [[done, _rounded(losses)] for done, losses in list(self._losses)],
            "versions": [_version(version) for version in self.versions],
            "jobs": [
                {"number": j.number, "label": j.label, "share": round(j.share, 3)}
                | {"status": j.status, "error": j.error}
                for j in self.jobs
            ],
            "undo": bool(self._past),
        }

    def close(self) -> None:
        """Stop the painting and delete the uploads."""
        if self.painting is not None:
            self.painting.stop(timeout=5)
        self._uploads.cleanup()


ROLES = ("content", "style", "mask")


class _Pace:
    """Measures how fast a painting progresses and estimates the time left."""

    def __init__(self, schedule: Schedule | None = None) -> None:
        self.work = [] if schedule is None else schedule.work
        self.counts = [] if schedule is None else [s.evaluations for s in schedule.scales]
        self.first: tuple[float, int, int] | None = None

    def seconds_left(self, progress: Progress) -> float | None:
        """Estimate the seconds that the run still takes; None: not yet known."""
        scale, now = progress.scale, time.monotonic()
        if self.first is None or self.first[1] != scale or self.first[2] > progress.evaluations:
            self.first = now, scale, progress.evaluations
            return None
        steps = progress.evaluations - self.first[2]
        if steps < 2 or scale >= len(self.work):
            return None
        seconds = (now - self.first[0]) / steps
        unit = self.work[scale] / self.counts[scale]
        later = sum(self.work[scale + 1 :]) / unit
        return seconds * (progress.scale_evaluations - progress.evaluations + later)


def read_input(role: str, path: AnyPath, name: str) -> Input:
    """Read a picture, if memory allows; its name is kept without folders.

    Raises:
      ValueError: It is not a picture, damaged, too small or too large.
    """
    if role not in ROLES:
        raise ValueError(f"role is {role!r}, expected one of {', '.join(ROLES)}")
    name = "".join(c for c in os.path.basename(name.replace("\\", "/")) if c.isprintable())
    name = name[:200] or role
    try:
        needed, available = reading_bytes(path), available_on_host()
        if available is not None and needed > available / 2:
            raise ValueError(
                f"{path} takes {needed / 1e9:.1f} GB of memory to read: make it smaller first"
            )
        image = load_image(path, alpha=True)
        check_side(image, path, least=1 if role == "mask" else 16)
    except ValueError as error:
        raise ValueError(str(error).replace(os.fspath(path), name)) from error
    size = image.shape[0], image.shape[1]
    return Input(source_of(role, path, name=name), Path(path), size)


def check_settings(settings: Mapping[str, Any], styles: int) -> None:
    """Refuse settings that cannot be used with that number of styles.

    Raises:
      KeyError: There is no such recipe.
      TypeError: There is no such setting.
      ValueError: A value is of the wrong type or out of range.
    """
    recipe = recipe_of(settings)
    known = {option_name(flag) for flag in options(recipe)}
    for name, value in settings.items():
        if name == "style_mix":
            fits = isinstance(value, list | tuple) and len(value) == styles
            fits = fits and all(_number(v) and 0 <= v <= 1e6 for v in value) and any(value)
            expected = f"{styles} numbers from 0, not all 0"
        elif name in ("size", "seed"):
            least, most = (16, LARGEST) if name == "size" else (0, 2**32 - 1)
            fits = type(value) is int and least <= value <= most
            expected = f"a whole number from {least} to {most}"
        elif name in known | {"recipe", "network"}:
            continue
        else:
            raise TypeError(f"there is no setting {name!r:.60}")
        if not fits:
            raise ValueError(f"{_words(name)} is {value!r:.60}, expected {expected}")


def settings_of(record: Record) -> dict[str, Any]:
    """Return the settings that a picture had at its end, as the page sets them."""
    assert record.recipe is not None
    final = record.final_options
    mix = record.arguments.get("style-mix")
    if isinstance(mix, tuple) and len(mix) == 1:
        final = {"style_mix": [float(weight) for weight in str(mix[0]).split(",")]} | final
    # A change in the last scale comes with more steps, which are not a setting of the user's.
    kept = {name: value for name, value in final.items() if name not in (*PICTURES, "steps")}
    settings: dict[str, Any] = {"recipe": record.recipe.name, "network": record.network}
    usual = options(recipe_of(settings))
    if (mixture := kept.pop("style_mix", None)) is not None:
        settings["style_mix"] = mixture
    for flag, (_, _, value) in options(override(record.recipe, kept)).items():
        if value != usual[flag][2]:
            settings[option_name(flag)] = value
    sides = record.recipe.scales.sides or (SIZE,)
    return settings | {"size": record.size or sides[-1], "seed": record.seed}


def _with_styles(state: State, styles: tuple[Input, ...]) -> State:
    """Return a state with other paintings, in equal parts if their number differs."""
    settings = state.settings
    if len(styles) != len(state.styles):
        settings = {key: value for key, value in settings.items() if key != "style_mix"}
    return dataclasses.replace(state, styles=styles, settings=settings)


def values_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all settings by name, those of the recipe where there is no other."""
    recipe = recipe_of(settings)
    values = {option_name(flag): value for flag, (_, _, value) in options(recipe).items()}
    values |= {"recipe": recipe.name, "network": recipe.network}
    usual = {"size": SIZE, "seed": 0, "style_mix": None}
    return values | {name: settings.get(name, value) for name, value in usual.items()}


def changes_between(before: State, after: State) -> dict[str, Any] | None:
    """Return the options of ``stylize`` in which two states differ, with the later values.

    None: a painting cannot turn from one to the other.
    """
    old, new = values_of(before.settings), values_of(after.settings)
    changes = {name: value for name, value in new.items() if value != old[name]}
    if before.keys[0] != after.keys[0] or changes.keys() & set(METHOD):
        return None
    if before.keys[1] != after.keys[1]:
        changes["styles"] = [style.path for style in after.styles]
    if before.keys[2] != after.keys[2]:
        changes["masks"] = [] if after.mask is None else [after.mask.path]
    return changes


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rounded(losses: Mapping[str, float]) -> dict[str, float | None]:
    return {k: float(f"{v:.4g}") if math.isfinite(v) else None for k, v in losses.items()}


def _shown(picture: Input | None) -> dict[str, Any] | None:
    if picture is None:
        return None
    height, width = picture.size
    return {"name": picture.source.name, "key": picture.key, "width": width, "height": height}


def _progress(progress: Progress, pace: _Pace) -> dict[str, Any]:
    left = pace.seconds_left(progress)
    return {
        "phase": progress.phase,
        "scale": progress.scale + 1,
        "scales": progress.scales,
        "size": [progress.size[1], progress.size[0]],
        "done": progress.total_done,
        "total": progress.total,
        "left": None if left is None else round(left, 1),
        "seconds": round(progress.seconds, 1),
    }


@cache
def _version(version: Version) -> dict[str, Any]:
    height, width = version.size
    row = {"number": version.number, "width": width, "height": height, "kind": version.kind}
    if version.record is None or version.record.recipe is None:
        return row | {"settings": {}}
    settings = settings_of(version.record)
    usual = ("size", "network", "seed")
    shown = {key: written(value) for key, value in settings.items() if key not in usual}
    return row | {"settings": shown}
