"""Checks of values, names and images at the entry points; every error is one line."""

import difflib
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

T = TypeVar("T")

LISTED = 40
"""Most names that a message lists."""

OVERSHOOT = 0.05
"""How far values may lie outside [0, 1]: resampling overshoots beside edges."""

NEARLY = 0.25
"""Values this near to [0, 1] are a picture in that range, with an overshoot."""

MOST = 1e30
"""Losses are float32, which end at 3e38: what is multiplied by more has no finite loss."""

LEAST_SIDE = 16
"""Shortest side of any picture, pixels: the stride of relu5_1."""


def among(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}")


def unknown(what: str, name: str, known: Collection[str], *, within: str = "", of: str = "") -> str:
    """Return a message that a name is unknown, with the nearest name and all that are known.

    Of very many, the first and the last are listed. ``within`` is put before the name, ``of`` after
    it.
    """
    # A name that is no string is like none that is known.
    near = difflib.get_close_matches(name, known, 1, 0.65) if isinstance(name, str) else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = list(known)
    if len(listed) > LISTED:
        listed[LISTED // 2 : -LISTED // 2] = ["..."]
    full_name = within + name if within else name
    return f"unknown {what} {full_name!r}{of}: {hint}expected one of {', '.join(listed)}"


def counted(number: int, noun: str) -> str:
    """Format a number of things.

    Example:
      >>> counted(1, "picture"), counted(0, "picture"), counted(12, "picture")
      ('1 picture', '0 pictures', '12 pictures')
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def lookup(what: str, name: str, table: Mapping[str, T]) -> T:
    """Return a table's entry of some name, or raise ValueError with the names that it has."""
    if name not in table:
        raise ValueError(unknown(what, name, table))
    return table[name]


def not_own(what: str, name: str, own: Collection[str]) -> None:
    """Refuse to replace an entry of a registry that jaxnst itself made."""
    if name in own:
        raise ValueError(f"{what} {name!r} is built in: choose another name")


def check(name: str, value: object, fits: bool, expected: str) -> None:
    """Refuse a value that does not fit."""
    if not fits:
        raise ValueError(f"{name} is {value}, expected {expected}")


def finite(name: str, value: float) -> None:
    """Refuse infinities and NaN."""
    check(name, value, math.isfinite(value), "a finite number")


def positive(name: str, value: float) -> None:
    """Refuse numbers that are not above 0 or more than ``MOST``, and NaN."""
    check(name, value, 0 < value <= MOST, f"a number above 0, at most {MOST:g}")


def not_negative(name: str, value: float) -> None:
    """Refuse numbers below 0 or more than ``MOST``, and NaN."""
    check(name, value, 0 <= value <= MOST, f"a number from 0 to {MOST:g}")


def share(name: str, value: object) -> None:
    """Refuse anything but a number from 0 to 1."""
    try:
        fits = bool(0 <= value <= 1)  # type: ignore[operator]
    except TypeError:
        fits = False
    check(name, value, fits, "a number from 0 to 1")


def floating(name: str, dtype: Any) -> None:
    """Refuse pictures of integers or truth values."""
    if dtype.kind != "f" and dtype.name != "bfloat16":
        raise TypeError(
            f"{name} has dtype {dtype}, expected floating point in [0, 1]: divide 8-bit values by "
            "255"
        )


def channels_last(name: str, shape: tuple[int, ...], expected: str, *, fits: bool) -> None:
    """Refuse a picture whose shape does not fit, with a hint for the usual other layouts."""
    if fits:
        return
    hint = ""
    if len(shape) in (3, 4) and shape[-3] in (1, 3, 4) and shape[-1] not in (1, 3, 4):
        hint = ": move its channels to the end, as np.moveaxis(image, -3, -1) does"
    elif len(shape) == 4:
        hint = ": pass a single image, such as images[0]"
    elif len(shape) == 2:
        hint = ": repeat gray values, as np.stack([image] * 3, -1) does"
    raise ValueError(f"{name} has shape {shape}, expected {expected}{hint}")


def unit_range(name: str, least: float, greatest: float) -> None:
    """Refuse a picture whose least or greatest value is outside [0, 1] by more than OVERSHOOT."""
    if not math.isfinite(least + greatest):
        raise ValueError(f"{name} has values that are not finite, expected values in [0, 1]")
    if not (least >= -OVERSHOOT and greatest <= 1 + OVERSHOOT):
        hint = "divide 8-bit values by 255"
        if least < -NEARLY:
            hint = "undo the normalization"
        elif greatest <= 1 + NEARLY:
            hint = "clip them"
        values = f"from {least:.3g} to {greatest:.3g}"
        raise ValueError(f"{name} has values outside [0, 1], {values}: {hint}")


def clipped(name: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return a picture as float32 in [0, 1]; refuse what is further beyond than OVERSHOOT."""
    least, greatest = float(values.min()), float(values.max())
    unit_range(name, least, greatest)
    inside = least >= 0 and greatest <= 1
    return (values if inside else np.clip(values, 0, 1)).astype(np.float32, copy=False)


def refuse_one_array(name: str, value: object, axes: int, expected: str) -> None:
    """Refuse a single picture or mask in the place of several, whose rows would be taken for them.

    An entry has ``axes`` axes at most; ``name`` and ``expected`` are for the message.

    Raises:
      ValueError: It is an array of that many axes or fewer, a path, or another single picture.
    """
    if isinstance(value, str) or (value is not None and not hasattr(value, "__len__")):
        raise ValueError(f"{name} is a single {type(value).__name__}, expected {expected}")
    if 0 < getattr(value, "ndim", 0) <= axes:
        shape = getattr(value, "shape", ())
        raise ValueError(f"{name} is one array of shape {shape}, expected {expected}")


def style_pictures(styles: Any) -> Iterator[tuple[str, Any]]:
    """Go through one or more style images, each with its name for messages.

    A text, an array of three axes and what has no length (a path, a Pillow image) are one image.

    Raises:
      ValueError: If there is none.
    """
    has_length = hasattr(styles, "__len__") and not isinstance(styles, str)
    if not has_length or getattr(styles, "ndim", 0) == 3:
        yield "style", styles
        return
    if len(styles) == 0:
        raise ValueError("styles is empty, expected at least one style image")
    for i, style in enumerate(styles, 1):
        yield f"style {i}", style


def check_picture(name: str, image: ArrayLike, *, opacity: bool = False) -> npt.NDArray[np.float32]:
    """Return an image as float32, an overshoot clipped.

    Args:
      name: What it is called in messages.
      image: ``(H, W, 3)`` RGB in [0, 1]; up to 0.05 beyond, as resampling leaves it, is clipped.
      opacity: Whether it may have a fourth channel.

    Raises:
      TypeError: If it holds integers.
      ValueError: If it has another shape, values further outside [0, 1], or a side under 16
        pixels.
    """
    array = np.asarray(image)
    channels = (3, 4) if opacity else (3,)
    expected = " or ".join(f"(height, width, {count})" for count in channels)
    fits = array.ndim == 3 and array.shape[2] in channels
    channels_last(f"{name} image", array.shape, expected, fits=fits)
    floating(f"{name} image", array.dtype)
    if min(array.shape[:2]) < LEAST_SIDE:
        raise ValueError(
            f"{name} image is {array.shape[1]}x{array.shape[0]}, "
            f"expected at least {LEAST_SIDE} pixels per side"
        )
    return clipped(f"{name} image", array)
