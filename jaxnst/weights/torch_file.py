"""Read PyTorch's ``.pth`` files, of the ZIP and of the older pickled form.

PyTorch itself does it (extra ``jaxnst[torch]``), with its reader that takes tensors and nothing
that could run code. Tensors saved on a GPU are read on the CPU.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxnst.weights._files import AGAIN, DAMAGED, MAX_BYTES, Parameters, one_line, open_weights
from jaxnst.weights.state_dict import convert

FORMAT = "torch"

_TOO_LARGE = f"has more than {MAX_BYTES} bytes: give a file that holds one loss network"


KEYS = ("state_dict", "model_state_dict", "model", "module")
"""What checkpoints usually call the network's state dict."""

DEPTH = 4
"""Most dictionaries within one another that are followed to it."""


class _Refused(ValueError):
    """What is wrong, and what to do; follows the file's name."""


def matches(head: bytes) -> bool:
    """Tell the older form, a pickle, by its first bytes; the other is an archive."""
    return head.startswith(b"\x80\x02")


def matches_archive(names: list[str]) -> bool:
    """Tell the present form by what is in the archive."""
    return any(name.endswith("/data.pkl") for name in names)


def read(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read a state dict; see :func:`jaxnst.weights.read_parameters`."""
    name = os.fspath(path)
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{name} is a PyTorch file, which takes PyTorch to read: pip install 'jaxnst[torch]', "
            "or give the same network as safetensors, .npz or Keras HDF5"
        ) from None
    with open_weights(path) as file:
        try:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise _Refused(_TOO_LARGE)
            tensors = _tensors(torch.load(file, map_location="cpu", weights_only=True), torch)
        except _Refused as error:
            raise ValueError(f"{name} {error}") from None
        except Exception as error:  # whatever it makes of a damaged or hostile file
            raise ValueError(
                f"{name} {DAMAGED}, or holds more than plain tensors ({_reason(error)}): {AGAIN}"
            ) from None
    params, said = convert(tensors)
    return params, {"format": FORMAT, **said}


def _reason(error: Exception) -> str:
    """Take the first sentence: PyTorch's messages go on with advice to load unsafely."""
    sentence = str(error).split("\n", 1)[0].split(". ", 1)[0]
    return one_line(sentence or type(error).__name__, 120)


def _state_dict(found: Any, torch: Any) -> Any:
    """Follow a checkpoint to the state dict that it keeps beside other things.

    Raises:
      _Refused: It keeps several, and none of them is called as the network's usually is.
    """
    for _ in range(DEPTH):
        if not isinstance(found, Mapping):
            break
        inner = {str(key): value for key, value in found.items() if isinstance(value, Mapping)}
        usual = [inner[key] for key in KEYS if key in inner]
        if any(isinstance(value, torch.Tensor) for value in found.values()) and not usual:
            break
        direct = {
            key: value
            for key, value in inner.items()
            if any(isinstance(each, torch.Tensor) for each in value.values())
        }
        candidates = usual[:1] or list((direct or inner).values())
        if len(candidates) > 1:
            names = one_line(", ".join(direct or inner), 80)
            raise _Refused(f"holds several state dicts ({names}): save the network's alone")
        if not candidates:
            break
        found = candidates[0]
    return found


def _tensors(found: Any, torch: Any) -> dict[str, NDArray[np.float32]]:
    found = _state_dict(found, torch)
    if not isinstance(found, Mapping):
        raise _Refused(
            f"holds a {one_line(type(found).__name__, 40)}, expected a state dict: "
            "save the network's state_dict()"
        )
    tensors = {}
    left = MAX_BYTES
    for key, value in found.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            left -= 4 * value.numel()  # strides of zero make much of few bytes
            if left < 0:
                raise _Refused(_TOO_LARGE)
            tensors[one_line(str(key), 80)] = value.detach().to(torch.float32).numpy()
    if not tensors:
        raise _Refused("holds no tensors: save the network's state_dict()")
    return tensors
