"""Transformation networks with their parameters: read, written and applied.

A file is safetensors in jaxnst's own format, with the network's architecture in its metadata.
State dicts of pytorch/examples' ``fast_neural_style`` can be read too.
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
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from jaxnst._checks import channels_last, clipped, floating
from jaxnst._files import name_of, reason
from jaxnst._numerics import default_numerics
from jaxnst.feedforward.transformer import TransformationNetwork
from jaxnst.networks.registry import Params, params_by_layer
from jaxnst.weights import bundled_styles, check_parameters, read_parameters, write_parameters
from jaxnst.weights.state_dict import FAST_NEURAL_STYLE

KIND = "transformation-network"
VERSION = 1

_FIELDS: dict[str, Any] = {
    field.name: field.type
    for field in dataclasses.fields(TransformationNetwork)
    if field.name not in ("precision", "parent", "name")  # depends on the machine; fields of Flax
}
"""Fields of the network that a file records, with their types."""

_RESERVED = ("format", "model", "architecture", "name")
"""Metadata of a file that are not facts."""


@dataclass(frozen=True)
class Model:
    """A transformation network that was trained for one style.

    Equality and hash ignore parameters and facts, so a model can be a static argument of
    ``jax.jit``; ``model.params`` is passed separately, as a traced one.

    Attributes:
      name: Name of the style or of the file.
      module: The Flax module.
      params: Parameters by layer: ``{"conv1": {"kernel": ...}, "conv1_norm": {...}, ...}``.
      facts: Metadata as text, such as ``style`` and ``recipe``, and settings of the training run.
    """

    name: str
    module: TransformationNetwork
    params: Params = field(compare=False, repr=False)
    facts: Mapping[str, str] = field(default_factory=dict, compare=False)


def bundled_models() -> tuple[str, ...]:
    """Return the names of the bundled models, in order.

    Example:
      >>> bundled_models()
      ('great-wave', 'starry-night')
    """
    return tuple(bundled_styles())


@default_numerics()
def load_model(source: str | os.PathLike[str]) -> Model:
    """Load a transformation network.

    Args:
      source: A file, or the name of a bundled model.

    Returns:
      The model, with parameters in float32 on JAX's default device.

    Raises:
      FileNotFoundError: There is neither such a file nor such a model.
      ValueError: The file is damaged, holds something else or values that are not finite, or its
        architecture is unknown.
      OSError: The file cannot be read.
    """
    shipped = bundled_styles()
    if not os.path.isfile(source) and os.fspath(source) in shipped:
        source = shipped[os.fspath(source)]
    elif not os.path.exists(source):
        raise FileNotFoundError(
            f"there is no model {name_of(source)}: give an existing file, or a bundled model "
            f"({', '.join(shipped) or 'there are none'})"
        )
    parameters, metadata = read_parameters(source)
    if metadata.get("model") == FAST_NEURAL_STYLE:
        module = _of_pytorch_examples(parameters)
    else:
        module = _module(name_of(source), metadata, parameters)
    check_parameters(parameters, module.shapes(), source, prefix_ok=False)
    stem = os.path.splitext(os.path.basename(os.fspath(source)))[0]
    facts = {key: text for key, text in metadata.items() if key not in _RESERVED}
    return Model(metadata.get("name", stem), module, params_by_layer(parameters), facts)


def save_model(
    path: str | os.PathLike[str], model: Model, *, dtype: npt.DTypeLike = np.float16
) -> None:
    """Write a model, atomically; the same model always gives a byte-identical file.

    Args:
      path: File to write or replace, usually ``.safetensors``.
      model: The model. Its precision, which depends on the machine, is not recorded.
      dtype: Floating point type of the parameters in the file.

    Raises:
      FileNotFoundError: The folder does not exist.
      ValueError: Parameters are missing, have a wrong shape, or are not finite in that type; or a
        fact has a reserved name.
      OSError: The file cannot be written.
    """
    model.module.check()
    if reserved := [key for key in model.facts if key in _RESERVED]:
        raise ValueError(f"a fact is called {reserved[0]!r}, which is reserved: use another name")
    flat: dict[str, Any] = flatten_dict(model.params, sep="/")  # type: ignore[no-untyped-call]
    values = {key: np.asarray(value) for key, value in flat.items()}
    shapes = model.module.shapes()
    check_parameters(values, shapes, f"model {model.name}", prefix_ok=False)
    with np.errstate(over="ignore"):  # write_parameters refuses infinities
        stored = {key: values[key].astype(dtype) for key in shapes}
    architecture = {name: getattr(model.module, name) for name in _FIELDS}
    metadata = {
        "model": f"{KIND}-{VERSION}",
        "architecture": json.dumps(architecture, sort_keys=True),
        "name": model.name,
    }
    write_parameters(path, stored, metadata={**model.facts, **metadata})


@default_numerics()
def apply_model(
    model: Model, image: Float[Array, "*batch h w 3"] | np.ndarray
) -> Float[Array, "*batch h w 3"]:
    """Paint an image in a model's style, in one pass.

    Compiled once for each shape and architecture; models of the same architecture share programs.

    Args:
      model: From :func:`load_model`.
      image: ``(H, W, 3)`` RGB in [0, 1], or several of the same size, ``(B, H, W, 3)``.

    Returns:
      RGB in [0, 1], of the same shape.

    Raises:
      TypeError: The image holds integers.
      ValueError: It has another shape, is too small, or holds values that are not finite or outside
        [0, 1] by more than 0.05 (less is clipped).

    Example:
      >>> apply_model(load_model("great-wave"), np.zeros((32, 48, 3), np.float32)).shape
      (32, 48, 3)
    """
    array = np.asarray(image)
    floating("image", array.dtype)
    fits = array.ndim in (3, 4) and array.shape[-1] == 3 and 0 not in array.shape
    expected = "(height, width, 3), or (batch, height, width, 3)"
    channels_last("image", array.shape, expected, fits=fits)
    return painted(model.module, model.params, jnp.asarray(clipped("image", array)))


@default_numerics()
def paint_frames(model: Model, frames: npt.NDArray[np.uint8]) -> jax.Array:
    """Paint 8-bit images in a model's style, converted on the device.

    Args:
      model: From :func:`load_model`.
      frames: ``(B, H, W, 3)``.

    Returns:
      uint8 of the same shape, possibly still being computed.

    Raises:
      ValueError: The images are too small.
    """
    return _painted_levels(model.module, model.params, frames)


@partial(jax.jit, static_argnums=0)
def _painted_levels(module: TransformationNetwork, params: Params, frames: Array) -> Array:
    levels = 255 * painted(module, params, frames.astype(jnp.float32) / 255)
    return jnp.rint(levels).astype(jnp.uint8)


@partial(jax.jit, static_argnums=0)
def painted(module: TransformationNetwork, params: Params, images: Array) -> Array:
    """Paint images in [0, 1] without checks, compiled."""
    outputs: Any = module.apply({"params": params}, images)
    return jnp.clip(outputs, 0, 1)


def _module(
    name: str, metadata: Mapping[str, str], parameters: Mapping[str, Any]
) -> TransformationNetwork:
    """Make the module that a file describes."""
    kind, _, version = metadata.get("model", "").rpartition("-")
    if kind != KIND:
        names = ", ".join(list(parameters)[:3])
        raise ValueError(
            f"{name} is not a transformation network, but holds {names} ...: give a file that "
            "`jaxnst train` or save_model wrote, or a state dict of pytorch/examples' "
            "fast_neural_style"
        )
    if version != str(VERSION):
        raise ValueError(
            f"{name} is a transformation network of version {version}, expected {VERSION}: "
            "install the newest jaxnst"
        )
    try:
        fields = dict(json.loads(metadata["architecture"]))
        module = TransformationNetwork(**{key: _field(key, v) for key, v in fields.items()})
        module.check()
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{name} describes an architecture that this jaxnst does not know "
            f"({reason(error)[:120]}): install the newest jaxnst, or make the file again"
        ) from None
    return module


def _field(key: str, value: Any) -> Any:
    """Convert a JSON value to a field of the module; raise ValueError if it has another type."""
    if key not in _FIELDS:
        raise ValueError(f"unknown {key}")
    if key == "widths" and isinstance(value, list) and all(type(w) is int for w in value):
        return tuple(value)
    if key == "blocks" and type(value) is int:
        return value
    if key in ("scale", "epsilon") and type(value) in (int, float):
        return float(value)
    if value in get_args(_FIELDS[key]):
        return value
    raise ValueError(f"{key} is {value!r}")


def _of_pytorch_examples(parameters: Mapping[str, Any]) -> TransformationNetwork:
    """Infer the architecture of a state dict from its names and shapes."""
    kernels = (parameters.get(f"conv{i}/kernel") for i in (1, 2, 3))
    widths = tuple(kernel.shape[-1] for kernel in kernels if kernel is not None)
    blocks = sum(name.startswith("res") and name.endswith("_1/kernel") for name in parameters)
    return TransformationNetwork(widths=widths, blocks=blocks, output="linear", scale=255.0)
