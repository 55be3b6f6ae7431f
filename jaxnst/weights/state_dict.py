"""Translate PyTorch's names and layout into ours.

Understood are state dicts of torchvision and jcjohnson (VGG: ``features.0.weight``), torchvision's
DenseNets in both their spellings (``norm1`` and ``norm.1``), Gatys' ``vgg_conv.pth``
(``conv1_1.weight``), and two families of encoders whose first module is a 1x1 convolution from RGB
to the Caffe network's input, each with its decoders: the normalized VGG (``0.weight``) and the
distilled ones (``conv0.weight``, ``conv11.weight``). Classifiers are left out, and what only
training needed. Kernels go from OIHW to HWIO.

So are transformation networks of pytorch/examples' ``fast_neural_style`` (``conv1.conv2d.weight``,
``in1.weight``). Biases before a normalization, which have no effect, and running statistics,
which older files have and which are not used, are left out.

What wrappers add to the names is left out first: ``module.`` of DataParallel, ``_orig_mod.`` of
torch.compile, and whatever all names begin with, such as ``model.`` of a Lightning module.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from jaxnst.weights._files import Parameters

Tensors = Mapping[str, NDArray[np.float32]]

UNSAID = "unsaid"
"""Preprocessing of files that share names and shapes but not what they were trained with."""

FAST_NEURAL_STYLE = "fast-neural-style"
"""Value of ``model`` in the metadata of such a file."""

_WRAPPERS = (
    "module",
    "_orig_mod",
    "_forward_module",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
)
"""Parts of names that PyTorch's and Lightning's wrappers add, at whichever module they wrap."""

BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions in each block: Simonyan and Zisserman 2015, table 1 (D and E)."""

_CAFFE = np.array([[0, 0, 255], [0, 255, 0], [255, 0, 0]], np.float32)
_CAFFE_MEAN = np.array([-103.939, -116.779, -123.68], np.float32)

_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}

# Names of a DenseNet's layers, behind "features.", and what they become; numbers count from 1 and
# from 2 (the stem is the first block), and a normalization has that of the convolution behind it.
_DENSENET = {"conv0": "conv1_conv", "norm0": "conv1_bn", "norm5": "bn"}
_DENSE_LAYER = re.compile(r"denseblock(\d)\.denselayer(\d+)\.(norm|conv)\.?(\d)")
_TRANSITION = re.compile(r"transition(\d)\.(norm|conv)")
_TRANSFORMER = re.compile(r"(?:res(\d+)\.)?(?:(conv|deconv)(\d)\.conv2d|in(\d))")


def matches(names: Iterable[str]) -> bool:
    """Return whether names are those of a state dict."""
    return any(re.search(r"(^|\.)weight$", name) for name in names)


def convert(tensors: Tensors) -> tuple[Parameters, dict[str, str]]:
    """Return parameters under our names, and what the names say about the file.

    Names of an unknown form are kept, so that a check against a network lists them.
    """
    known = _convert_known(_without_classifier(_unwrapped(tensors)))
    return (_renamed(_without_classifier(tensors), {}), {}) if known is None else known


def _without_classifier(tensors: Tensors) -> Tensors:
    return {k: v for k, v in tensors.items() if not k.startswith("classifier.")}


def _unwrapped(tensors: Tensors) -> Tensors:
    """Remove what wrappers have added to the names, so that they are a layer and its part."""
    paths = [[part for part in name.split(".") if part not in _WRAPPERS] for name in tensors]
    while paths and all(len(path) > 2 for path in paths):
        first = {path[0] for path in paths}
        if len(first) > 1 or first == {"features"}:  # torchvision's own
            break
        paths = [path[1:] for path in paths]
    unwrapped = dict(zip(map(".".join, paths), tensors.values(), strict=True))
    # If two names become one, or one is nothing else, the parts have another meaning.
    return unwrapped if len(unwrapped) == len(tensors) and "" not in unwrapped else tensors


def _convert_known(tensors: Tensors) -> tuple[Parameters, dict[str, str]] | None:
    """Convert a state dict of a known form, or return None."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))
    plain = {name.removeprefix("features."): value for name, value in tensors.items()}
    numbered = [name.split(".")[0] for name in plain if re.fullmatch(r"\d+\.weight", name)]
    numbered.sort(key=int)
    vgg19 = conv_names("vgg19")
    densenet = {layer: _densenet_name(layer) for layer in layers}
    if any(theirs != ours for theirs, ours in densenet.items()):
        return _renamed(tensors, densenet), {"preprocessing": "imagenet", "epsilon": "1e-05"}
    if any(layer.endswith(".conv2d") for layer in layers):
        transformer = {layer: _transformer_name(layer) for layer in layers}
        params = _renamed(tensors, transformer)
        # A bias before a normalization has no effect, and running statistics are not used.
        unused = ("/bias", "_norm/mean", "_norm/variance")
        params = {k: v for k, v in params.items() if k == "out/bias" or not k.endswith(unused)}
        return params, {"model": FAST_NEURAL_STYLE}
    if any(re.fullmatch(r"conv\d_\d", layer) for layer in layers):
        return _renamed(tensors, {}), {"preprocessing": "caffe"}
    if any(re.fullmatch(r"features\.\d+", layer) for layer in layers):
        return _renamed(plain, _by_position(numbered)), {"preprocessing": UNSAID}
    if _starts_with_caffe(tensors):
        rest = {k: v for k, v in tensors.items() if not k.startswith("0.")}
        names = dict(zip(numbered[1:], vgg19, strict=False))
        return _renamed(rest, names), {"preprocessing": "caffe", "unit_means": "true"}
    if any(re.fullmatch(r"conv[1-5]{2}", layer) for layer in layers):
        return _distilled(tensors, layers)
    if numbered and plain[f"{numbered[-1]}.weight"].shape[0] == 3:  # ends at an image
        names = dict(zip(reversed(numbered), vgg19, strict=False))
        return _renamed(tensors, names), {}
    return None


def _distilled(tensors: Tensors, layers: Iterable[str]) -> tuple[Parameters, dict[str, str]]:
    """Convert an encoder or a decoder of Collaborative Distillation."""
    tensors = {k: v for k, v in tensors.items() if "_aux." not in k}
    names = {layer: re.sub(r"^conv(\d)(\d)$", r"conv\1_\2", layer) for layer in layers}
    params = _renamed(tensors, names)
    if "conv0/kernel" not in params:
        return params, {}
    # The first module mixes colors, at every pixel alike: conv1_1 can do so as well.
    mixing, offset = params.pop("conv0/kernel")[0, 0], params.pop("conv0/bias")
    kernel = params["conv1_1/kernel"].astype(np.float64)
    params["conv1_1/bias"] += (offset @ kernel.sum((0, 1))).astype(np.float32)
    params["conv1_1/kernel"] = (mixing.astype(np.float64) @ kernel).astype(np.float32)
    return params, {"preprocessing": "identity"}


def _starts_with_caffe(tensors: Tensors) -> bool:
    kernel, bias = tensors.get("0.weight"), tensors.get("0.bias")
    if kernel is None or bias is None or kernel.shape != (3, 3, 1, 1):
        return False
    return np.array_equal(kernel[:, :, 0, 0], _CAFFE) and np.allclose(bias, _CAFFE_MEAN, atol=1e-3)


def conv_names(network: str) -> list[str]:
    """Name the convolutions of a VGG, from the shallowest to the deepest."""
    return [f"conv{b}_{i}" for b, n in enumerate(BLOCKS[network], 1) for i in range(1, n + 1)]


def _by_position(numbered: list[str]) -> dict[str, str]:
    """Name convolutions by their positions among convolutions, ReLUs and poolings."""
    for network, blocks in BLOCKS.items():
        positions, start = [], 0
        for depth in blocks:
            positions += [str(start + 2 * i) for i in range(depth)]
            start += 2 * depth + 1
        if numbered == positions[: len(numbered)]:
            return dict(zip(numbered, conv_names(network), strict=False))
    return {}


def _densenet_name(layer: str) -> str:
    inner = layer.removeprefix("features.")
    if inner == layer:
        return layer
    if match := _DENSE_LAYER.fullmatch(inner):
        block, index, kind, number = match.groups()
        part = f"{int(number) - 1}_bn" if kind == "norm" else f"{number}_conv"
        return f"conv{int(block) + 1}_block{index}_{part}"
    if match := _TRANSITION.fullmatch(inner):
        return f"pool{int(match[1]) + 1}_{'bn' if match[2] == 'norm' else 'conv'}"
    return _DENSENET.get(inner, layer)


def _transformer_name(layer: str) -> str:
    match = _TRANSFORMER.fullmatch(layer)
    if match is None:
        return layer
    block, kind, position, norm = match.groups()
    number = int(position or norm)
    if block:
        name = f"res{block}_{number}"
    elif kind == "deconv" or (norm and number > 3):  # the numbers of normalizations go on
        number -= 3 if norm else 0
        name = "out" if number == 3 else f"up{number}"
    else:
        name = f"conv{number}"
    return f"{name}_norm" if norm else name


def _renamed(tensors: Tensors, names: Mapping[str, str]) -> Parameters:
    """Give layers our names, where there is one, and their arrays our names and layout."""
    params: Parameters = {}
    for key, value in tensors.items():
        layer, _, part = key.rpartition(".")
        layer = names.get(layer, layer)
        is_norm = layer == "bn" or layer.endswith(("_bn", "_norm"))
        ours = (_NORM if is_norm else {"weight": "kernel"}).get(part, part)
        if part == "weight" and value.ndim == 4:
            value = np.ascontiguousarray(value.transpose(2, 3, 1, 0))  # OIHW to HWIO
        if part != "num_batches_tracked":
            params[f"{layer}/{ours}"] = value
    return params
