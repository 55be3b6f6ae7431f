"""Transformation networks with their parameters: read, written and applied.

A file is safetensors in jaxnst's own format; its metadata say which architecture the parameters are
for. State dicts of pytorch/examples' ``fast_neural_style`` are understood too.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float

from jaxnst._checks import channels_last, clipped, floating
from jaxnst._files import name_of
from jaxnst._numerics import own_numerics
from jaxnst.feedforward.transformer import TransformationNetwork
from jaxnst.weights import bundled_styles, check_parameters, read_parameters, write_parameters
from jaxnst.weights.state_dict import FAST_NEURAL_STYLE

Params = dict[str, dict[str, jax.Array]]

KIND = "transformation-network"
VERSION = 1

_FIELDS: dict[str, Any] = {
    each.name: each.type
    for each in dataclasses.fields(TransformationNetwork)
    if each.name not in ("precision", "parent", "name")  # the machine's, and Flax's own
}
_OWN = ("format", "model", "architecture", "name")
"""Words of a file that are no facts."""

_GIVE = (
    "give a file that `jaxnst train` or save_model wrote, or a state dict of pytorch/examples' "
    "fast_neural_style"
)


@dataclass(frozen=True)
class Model:
    """A transformation network that was trained for one style.

    Parameters and facts are left out of equality and hash, so a model can be a static argument of
    ``jax.jit`` while ``model.params`` is passed beside it as a traced one.

    Attributes:
      name: What it is called.
      module: The Flax module.
      params: Parameters by layer: ``{"conv1": {"kernel": ...}, "conv1_norm": {...}, ...}``.
      facts: What is known of it, as words: ``style``, ``licence``, how it was trained.
    """

    name: str
    module: TransformationNetwork
    params: Params = field(compare=False, repr=False)
    facts: Mapping[str, str] = field(default_factory=dict, compare=False)


def bundled_models() -> tuple[str, ...]:
    """Name the models that ship with jaxnst, in order."""
    return tuple(bundled_styles())


@own_numerics()
def load_model(source: str | os.PathLike[str]) -> Model:
    """Load a transformation network.

    Args:
      source: A file, or the name of a model that ships with jaxnst.

    Returns:
      The model, its parameters in float32 on JAX's default device.

    Raises:
      FileNotFoundError: If there is neither such a file nor such a model.
      ValueError: If the file is damaged, holds something else or a model of another architecture,
        was written by a later version, or holds values that are not finite; in one line.
      OSError: If it cannot be read.
    """
    shipped = bundled_styles()
    if not os.path.isfile(source) and os.fspath(source) in shipped:
        source = shipped[os.fspath(source)]
    elif not os.path.exists(source):
        ship = f"those that ship are {', '.join(shipped)}" if shipped else "none ship"
        raise FileNotFoundError(
            f"there is no model {name_of(source)}: give a file that is there; {ship}"
        )
    found, said = read_parameters(source)
    name = name_of(source)
    if said.get("model") == FAST_NEURAL_STYLE:
        module = _of_pytorch_examples(found)
    else:
        module = _module(name, said, found)
    check_parameters(found, module.shapes(), source, prefix_ok=False)
    params: Params = {}
    for key, value in found.items():
        layer, part = key.split("/")
        params.setdefault(layer, {})[part] = jnp.asarray(value)
    stem = os.path.splitext(os.path.basename(os.fspath(source)))[0]
    facts = {word: text for word, text in said.items() if word not in _OWN}
    return Model(said.get("name", stem), module, params, facts)


def save_model(
    path: str | os.PathLike[str], model: Model, *, dtype: npt.DTypeLike = np.float16
) -> None:
    """Write a model, at once or not at all; the same model always gives the same bytes.

    Args:
      path: File to write or to replace, ``.safetensors`` as a rule.
      model: Its precision is left out, which is the machine's.
      dtype: Floating point type of the numbers in the file.

    Raises:
      FileNotFoundError: If the folder does not exist.
      ValueError: If parameters are missing, of a wrong shape, or not finite in that type, or a fact
        has a name that the file itself uses.
      OSError: If the file cannot be written.
    """
    model.module.check()
    if taken := [word for word in model.facts if word in _OWN]:
        raise ValueError(f"a fact is called {taken[0]!r}, which the file uses: call it otherwise")
    values = {
        f"{layer}/{part}": np.asarray(value)
        for layer, parts in model.params.items()
        for part, value in parts.items()
    }
    shapes = model.module.shapes()
    check_parameters(values, shapes, f"model {model.name}", prefix_ok=False)
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        stored = {key: values[key].astype(dtype) for key in shapes}
    architecture = {name: getattr(model.module, name) for name in _FIELDS}
    words = {
        "model": f"{KIND}-{VERSION}",
        "architecture": json.dumps(architecture, sort_keys=True),
        "name": model.name,
    }
    write_parameters(path, stored, metadata={**model.facts, **words})


@own_numerics()
def apply_model(
    model: Model, image: Float[Array, "*batch h w 3"] | np.ndarray
) -> Float[Array, "*batch h w 3"]:
    """Paint a picture in the manner of a model's style, in one pass.

    Compiled once for each shape and architecture; models of one architecture share programs.

    Args:
      model: From :func:`load_model`.
      image: ``(H, W, 3)`` RGB in [0, 1], or several of one size, ``(B, H, W, 3)``.

    Returns:
      RGB in [0, 1], of the same shape.

    Raises:
      TypeError: If it holds integers.
      ValueError: If it has another shape, is too small, or holds values outside [0, 1] by more
        than 0.05 (less is clipped) or not finite.
    """
    given = np.asarray(image)
    floating("image", given.dtype)
    fits = given.ndim in (3, 4) and given.shape[-1] == 3 and 0 not in given.shape
    expected = "(height, width, 3), or (batch, height, width, 3)"
    channels_last("image", given.shape, expected, fits=fits)
    return painted(model.module, model.params, jnp.asarray(clipped("image", given)))


@own_numerics()
def paint_frames(model: Model, frames: npt.NDArray[np.uint8]) -> jax.Array:
    """Paint pictures of 8 bits, as :func:`apply_model`, converted on the device.

    Args:
      model: From :func:`load_model`.
      frames: ``(B, H, W, 3)``.

    Returns:
      uint8 of the same shape, which may still be on its way.

    Raises:
      ValueError: If they are too small.
    """
    return _painted_levels(model.module, model.params, frames)


@partial(jax.jit, static_argnums=0)
def _painted_levels(module: TransformationNetwork, params: Params, frames: Array) -> Array:
    levels = 255 * painted(module, params, frames.astype(jnp.float32) / 255)
    return jnp.rint(levels).astype(jnp.uint8)


@partial(jax.jit, static_argnums=0)
def painted(module: TransformationNetwork, params: Params, images: Array) -> Array:
    """Paint pictures in [0, 1], unchecked; compiled, the module static and parameters traced."""
    found: Any = module.apply({"params": params}, images)
    return jnp.clip(found, 0, 1)


def _module(name: str, said: Mapping[str, str], found: Mapping[str, Any]) -> TransformationNetwork:
    """Make the module that a file describes."""
    kind, _, version = said.get("model", "").rpartition("-")
    if kind != KIND:
        names = ", ".join(list(found)[:3])
        raise ValueError(f"{name} is no transformation network, but holds {names} ...: {_GIVE}")
    if version != str(VERSION):
        raise ValueError(
            f"{name} is a transformation network of version {version}, expected {VERSION}: "
            "install the newest jaxnst"
        )
    try:
        fields = dict(json.loads(said["architecture"]))
        if unknown := [key for key in fields if key not in _FIELDS]:
            raise ValueError(f"nothing is known of {unknown[0]!r}")
        wrong = [key for key, value in fields.items() if not _fits(key, value)]
        if wrong:
            raise ValueError(f"{wrong[0]} is {fields[wrong[0]]!r}")
        module = TransformationNetwork(**{key: _read(key, value) for key, value in fields.items()})
        module.check()
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            f"{name} describes an architecture that this jaxnst does not know ({reason}): "
            "install the newest jaxnst, or make the file again"
        ) from None
    return module


def _fits(key: str, value: object) -> bool:
    """Tell whether a field of an architecture has the type that it should have."""
    if key == "widths":
        return isinstance(value, list) and all(type(each) is int for each in value)
    if key == "blocks":
        return type(value) is int
    if key in ("scale", "epsilon"):
        return type(value) in (int, float)
    return value in get_args(_FIELDS[key])


def _read(key: str, value: Any) -> Any:
    """Bring a value of JSON back to what a field has."""
    kinds = {"widths": tuple, "scale": float, "epsilon": float}
    return kinds[key](value) if key in kinds else value


def _of_pytorch_examples(found: Mapping[str, Any]) -> TransformationNetwork:
    """Tell the architecture of a state dict by its names and shapes."""
    kernels = (found.get(f"conv{i}/kernel") for i in (1, 2, 3))
    widths = tuple(kernel.shape[-1] for kernel in kernels if kernel is not None)
    blocks = sum(name.startswith("res") and name.endswith("_1/kernel") for name in found)
    return TransformationNetwork(widths=widths, blocks=blocks, output="linear", scale=255.0)
