"""Read PyTorch's ``.pth`` files, of the ZIP and of the older pickled form.

PyTorch itself does it (extra ``jaxnst[torch]``), with its reader that takes tensors and nothing
that could run code. Tensors saved on a GPU are read on the CPU.
"""

import os
from collections.abc import Mapping
from typing import Any

from jaxnst.weights._files import AGAIN, DAMAGED, Parameters, Refused, check_size, one_line

KEYS = ("state_dict", "model_state_dict", "model", "module")
"""What checkpoints usually call the network's state dict."""

DEPTH = 4
"""Most dictionaries within one another that are followed to it."""


def read(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read a state dict: arrays by PyTorch's names and in its layout, and metadata.

    Raises:
      Refused: If PyTorch is missing, or the file is damaged, too large, or holds no state dict.
    """
    try:
        import torch
    except ImportError:
        raise Refused(
            "is a PyTorch file, which needs PyTorch: pip install 'jaxnst[torch]', "
            "or give the same network as safetensors, .npz or Keras HDF5"
        ) from None
    check_size(os.path.getsize(path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return _arrays(_state_dict(content, torch), torch), {"format": "torch"}
    except Refused:
        raise
    except Exception as error:
        # The first sentence: PyTorch's messages go on with advice to load unsafely.
        sentence = str(error).split("\n", 1)[0].split(". ", 1)[0] or type(error).__name__
        raise Refused(
            f"{DAMAGED}, or holds more than plain tensors ({one_line(sentence, 120)}): {AGAIN}"
        ) from None


def _state_dict(content: Any, torch: Any) -> Any:
    """Follow a checkpoint to the state dict that it keeps beside other things.

    Raises:
      Refused: It keeps several, and none of them is called as the network's usually is.
    """

    def holds_tensors(value: Mapping[Any, Any]) -> bool:
        return any(isinstance(tensor, torch.Tensor) for tensor in value.values())

    for _ in range(DEPTH):
        if not isinstance(content, Mapping):
            break
        inner = {str(key): value for key, value in content.items() if isinstance(value, Mapping)}
        usual = [inner[key] for key in KEYS if key in inner]
        if not inner or (holds_tensors(content) and not usual):
            break
        inner = {k: v for k, v in inner.items() if holds_tensors(v)} or inner
        if len(inner) > 1 and not usual:
            names = one_line(", ".join(inner), 80)
            raise Refused(f"holds several state dicts ({names}): save the network's alone")
        content = [*usual, *inner.values()][0]
    return content


def _arrays(content: Any, torch: Any) -> Parameters:
    if not isinstance(content, Mapping):
        raise Refused(
            f"holds a {one_line(type(content).__name__, 40)}, expected a state dict: "
            "save the network's state_dict()"
        )
    params: Parameters = {}
    size = 0
    for key, value in content.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            size += 4 * value.numel()  # strides of zero make much of few bytes
            check_size(size, "unpacks to")
            params[one_line(str(key), 80)] = value.detach().to(torch.float32).numpy()
    if not params:
        raise Refused("holds no tensors: save the network's state_dict()")
    return params
