"""What decides the picture of a run, by name, so that a checkpoint only resumes that run."""

import dataclasses
import hashlib
import json
import platform
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from jaxnst._files import digest_of
from jaxnst._version import __version__
from jaxnst.image.record import parameters_sha256
from jaxnst.networks.registry import LossNetwork
from jaxnst.optim import lbfgs
from jaxnst.optim.sharding import default_device, threads_of
from jaxnst.recipes.schema import Recipe, walk
from jaxnst.transfer.guidance import Guidance
from jaxnst.transfer.pyramid import Scale, Schedule
from jaxnst.transfer.style_cache import StyleImage

DIGEST = "sha256:"

UNSAID = ("name", "summary", "scales", "outside")
"""Parts of a recipe that decide nothing, or nothing beyond the schedule and what is shown."""


def fingerprint_of(
    recipe: Recipe,
    network: LossNetwork,
    schedule: Schedule,
    *,
    content: StyleImage,
    styles: Sequence[StyleImage],
    init: StyleImage | None,
    guidance: Guidance,
    seed: int,
) -> dict[str, str]:
    """List all that decides a picture, except where it is computed, by name.

    The recipe is as it is meant for the network. ``init`` is what the run starts from, where that
    is not part of the recipe.
    """
    words = recipe_words(recipe)
    pictures = {"content": content, **{f"style {i}": s for i, s in enumerate(styles, 1)}}
    if init is not None:
        pictures["init"] = init
        del words["init"]  # its path
    words |= {f"{name} picture": DIGEST + one.digest for name, one in pictures.items()}
    masks = {f"mask {i}": mask for i, mask in enumerate(guidance.masks, 1)}
    if guidance.opacity is not None:
        masks["opacity"] = guidance.opacity
    words |= {name: DIGEST + digest_of({name: mask}) for name, mask in masks.items()}
    words |= {"style mix": repr(dict(sorted(guidance.mix.items())))}
    words |= {"seed": str(seed), "size": "{1}x{0}".format(*schedule.size)}
    words |= {f"scale {i}": _scale_words(scale) for i, scale in enumerate(schedule.scales, 1)}
    return words | network_words(network)


def _scale_words(scale: Scale) -> str:
    """Describe a scale.

    Example:
      >>> _scale_words(Scale((48, 64), ((50, 40),), 20))
      '20 evaluations at 64x48 with styles at 40x50'
    """
    inner, *styles = (f"{width}x{height}" for height, width in (scale.inner, *scale.styles))
    return f"{scale.evaluations} evaluations at {inner} with styles at {', '.join(styles)}"


def planned_evaluations(settings: Mapping[str, str]) -> tuple[int, ...]:
    """Return how many evaluations a run's settings plan for each scale.

    Raises:
      ValueError: If the settings are not those of a run.

    Example:
      >>> planned_evaluations({"scale 1": "20 evaluations at 64x48 with styles at 9x9"})
      (20,)
    """
    return tuple(int(settings[name].split(" ")[0]) for name in _scale_names(settings))


def with_evaluations(settings: Mapping[str, str], counts: Sequence[int]) -> dict[str, str]:
    """Replace the evaluations that a run's settings plan for each scale.

    Example:
      >>> with_evaluations({"scale 1": "20 evaluations at 64x48 with styles at 9x9"}, [25])
      {'scale 1': '25 evaluations at 64x48 with styles at 9x9'}
    """
    planned = zip(_scale_names(settings), counts, strict=True)
    words = {name: f"{count} {settings[name].partition(' ')[2]}" for name, count in planned}
    return {**settings, **words}


def run_digest(settings: Mapping[str, str]) -> str:
    """Return a digest of a run's settings, the same for any number of evaluations."""
    alike = with_evaluations(settings, [0] * len(_scale_names(settings)))
    return hashlib.sha256(json.dumps(alike, sort_keys=True).encode()).hexdigest()


def _scale_names(settings: Mapping[str, str]) -> list[str]:
    return [name for name in settings if name.startswith("scale ")]


def recipe_words(recipe: Recipe) -> dict[str, str]:
    """List all of a recipe that decides something, by the names of its fields."""
    return {
        ".".join(path): repr(value)
        for path, _, value in walk(recipe)
        if path[0] not in UNSAID and not dataclasses.is_dataclass(value)
    }


def network_words(network: LossNetwork) -> dict[str, str]:
    """Say which network it is, by name, structure, parameters and precision."""
    made = repr((network.name, network.module, network.preprocessing))
    return {
        "precision": network.precision,
        "network": network.name,
        "network's structure": DIGEST + hashlib.sha256(made.encode()).hexdigest(),
        "network's parameters": DIGEST + parameters_sha256(network.params),
    }


def surroundings() -> dict[str, str]:
    """Say what decides the last bits: versions, machine and number of threads."""
    device = default_device()
    threads = threads_of(device)
    return {
        "jaxnst": __version__,
        **{name: version(name) for name in ("jax", "jaxlib", "numpy", "optax")},
        "jaxopt": version("jaxopt") if lbfgs.jaxopt() else "missing",
        "machine": platform.machine(),
        "device": device.device_kind,
        **({} if threads is None else {"threads": str(threads)}),
    }


class OtherSettings(ValueError):
    """A checkpoint is of a run with other settings."""


def check_same_run(
    before: dict[str, str],
    present: dict[str, str],
    *,
    instead: str = "start over with another checkpoint",
) -> None:
    """Refuse to resume a run from a checkpoint of other settings.

    ``instead`` says what the message offers besides giving the same settings again.

    Raises:
      OtherSettings: Names the first that differs.
    """
    for name in dict.fromkeys((*present, *before)):
        was, now = before.get(name), present.get(name)
        if was == now:
            continue
        digests = (was or DIGEST).startswith(DIGEST) and (now or DIGEST).startswith(DIGEST)
        how = "another" if digests else f"{_short(was)}, this one {_short(now)}"
        raise OtherSettings(
            f"the checkpoint is from a run with other settings: its {name} is {how}; repeat the "
            f"settings of that run, or {instead}"
        )


def warn_of_other_environment(
    before: dict[str, str], present: dict[str, str], *, what: str = "picture"
) -> None:
    """Warn if a run began under other versions or on another machine; ``what`` is what it makes."""
    names = [name for name in present if before.get(name) != present[name]]
    if names:
        changes = ", ".join(
            f"{name} {_short(before.get(name))} -> {present[name]}" for name in names
        )
        warnings.warn(
            f"the run began in another environment ({changes}): its {what} may differ by rounding "
            "from that of an uninterrupted run",
            stacklevel=2,
        )


def _short(text: str | None) -> str:
    return "unset" if text is None else text if len(text) <= 60 else text[:57] + "..."
