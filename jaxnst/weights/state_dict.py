"""Translate PyTorch's names and layout into ours.

Understood are state dicts of torchvision and jcjohnson (VGG: ``features.0.weight``), torchvision's
DenseNets in both their spellings (``norm1`` and ``norm.1``), Gatys' ``vgg_conv.pth``
(``conv1_1.weight``), and two families of encoders whose first module is a 1x1 convolution from RGB
to the Caffe network's input, each with its decoders: the normalised VGG (``0.weight``) and the
distilled ones (``conv0.weight``, ``conv11.weight``). Classifiers are left out, and what only
training needed. Kernels go from OIHW to HWIO.

So are transformation networks of pytorch/examples' ``fast_neural_style`` (``conv1.conv2d.weight``,
``in1.weight``). What a normalisation takes away again is left out, the biases before it, and so are
running statistics, which older files have and nobody uses.

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
"""What the words about such a file call its model."""

_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}
_CAFFE = np.array([[0, 0, 255], [0, 255, 0], [255, 0, 0]], np.float32)
_CAFFE_MEAN = np.array([-103.939, -116.779, -123.68], np.float32)
_DENSE = re.compile(
    r"features\.(?:(conv0|norm0|norm5)"
    r"|denseblock(\d)\.denselayer(\d+)\.(norm|conv)\.?(\d)"
    r"|transition(\d)\.(norm|conv))"
    r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
)
_TRANSFORMER = re.compile(
    r"(?:res(\d+)\.)?(?:(conv|deconv)(\d)\.conv2d|in(\d))"
    r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
)


_WRAPPERS = frozenset(
    (
        "module",
        "_orig_mod",
        "_forward_module",
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
    )
)
"""Parts of names that PyTorch's and Lightning's wrappers add, at whichever module they wrap."""


def matches(names: Iterable[str]) -> bool:
    """Tell a state dict by its names."""
    return any(re.search(r"(^|\.)weight$", name) for name in names)


def convert(tensors: Tensors) -> tuple[Parameters, dict[str, str]]:
    """Return parameters under our names, and what the names say of the file.

    Names that no form has are kept, so that a check against a network lists them.
    """
    known = _convert_known(_without_classifier(_unwrapped(tensors)))
    return (_renamed(_without_classifier(tensors), {}), {}) if known is None else known


def _without_classifier(tensors: Tensors) -> Tensors:
    return {k: v for k, v in tensors.items() if not k.startswith("classifier.")}


def _convert_known(tensors: Tensors) -> tuple[Parameters, dict[str, str]] | None:
    """Convert a state dict of a known form, or return None."""
    names = set(tensors)
    if any(_DENSE.fullmatch(name) for name in names):
        return _densenet(tensors), {"preprocessing": "imagenet", "epsilon": "1e-05"}
    if any(name.endswith(".conv2d.weight") for name in names):
        return _transformer(tensors), {"model": FAST_NEURAL_STYLE}
    if any(re.fullmatch(r"conv\d_\d\.weight", name) for name in names):
        return _renamed(tensors, {}), {"preprocessing": "caffe"}
    if any(re.fullmatch(r"features\.\d+\.weight", name) for name in names):
        plain = {name.removeprefix("features."): value for name, value in tensors.items()}
        return _renamed(plain, _by_place(plain)), {"preprocessing": UNSAID}
    if _starts_with_caffe(tensors):
        rest = {k: v for k, v in tensors.items() if not k.startswith("0.")}
        names_in_order = _conv_names("vgg19")
        caffe = {"preprocessing": "caffe", "unit_means": "true"}
        return _renamed(rest, dict(zip(_kernels(rest), names_in_order, strict=False))), caffe
    if any(re.fullmatch(r"conv[1-5]{2}\.weight", name) for name in names):
        return _distilled(tensors)
    kernels = _kernels(tensors)
    if kernels and tensors[f"{kernels[-1]}.weight"].shape[0] == 3:  # ends at an image
        deepest_last = _conv_names("vgg19")[: len(kernels)]
        return _renamed(tensors, dict(zip(kernels, reversed(deepest_last), strict=True))), {}
    return None


def _unwrapped(tensors: Tensors) -> Tensors:
    """Leave out of the names what wrappers have added; what is left names a layer and its part."""
    parts = {name: [p for p in name.split(".") if p not in _WRAPPERS] for name in tensors}
    while parts and all(len(own) > 2 for own in parts.values()):
        first = {own[0] for own in parts.values()}
        if len(first) > 1 or first == {"features"}:  # torchvision's own
            break
        parts = {name: own[1:] for name, own in parts.items()}
    unwrapped = {".".join(own): tensors[name] for name, own in parts.items()}
    # Names that would become one are of something else.
    return unwrapped if len(unwrapped) == len(tensors) and "" not in unwrapped else tensors


def _distilled(tensors: Tensors) -> tuple[Parameters, dict[str, str]]:
    """Read an encoder or a decoder of Collaborative Distillation."""
    tensors = {k: v for k, v in tensors.items() if "_aux." not in k}
    names = {layer: f"conv{layer[4]}_{layer[5]}" for layer in _layers(tensors) if layer != "conv0"}
    params = _renamed(tensors, names)
    if "conv0/kernel" not in params:
        return params, {}
    # The first module mixes colours, at every pixel alike: conv1_1 does so as well.
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


def _conv_names(network: str) -> list[str]:
    return [f"conv{b}_{i}" for b, n in enumerate(_BLOCKS[network], 1) for i in range(1, n + 1)]


def _layers(tensors: Tensors) -> list[str]:
    return [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]


def _kernels(tensors: Tensors) -> list[str]:
    return sorted((place for place in _layers(tensors) if place.isdecimal()), key=int)


def _by_place(tensors: Tensors) -> dict[str, str]:
    """Name convolutions by their places in a Sequential of convolutions, ReLUs and poolings."""
    found = [int(place) for place in _kernels(tensors)]
    for network, blocks in _BLOCKS.items():
        places, place = [], 0
        for count in blocks:
            places += [place + 2 * i for i in range(count)]
            place += 2 * count + 1
        if found == places[: len(found)]:
            return dict(zip(map(str, found), _conv_names(network), strict=False))
    return {}


def _renamed(tensors: Tensors, names: Mapping[str, str]) -> Parameters:
    parts = {"weight": "kernel", "bias": "bias"}
    params: Parameters = {}
    for key, value in tensors.items():
        layer, _, part = key.rpartition(".")
        name = f"{names.get(layer, layer)}/{parts.get(part, part)}"
        params[name] = _layout(value) if part == "weight" else value
    return params


def _densenet(tensors: Tensors) -> Parameters:
    params: Parameters = {}
    for key, value in tensors.items():
        match = _DENSE.fullmatch(key)
        if match is None:
            params[key.replace(".", "/")] = value
        elif match[8] != "num_batches_tracked":
            layer, is_norm = _densenet_layer(match)
            part = _NORM[match[8]] if is_norm else "kernel"
            params[f"{layer}/{part}"] = value if is_norm else _layout(value)
    return params


def _densenet_layer(match: re.Match[str]) -> tuple[str, bool]:
    """Return our name of a layer, and whether it normalises."""
    end, block, layer, kind, place, transition, between, _ = match.groups()
    if end:
        return {"conv0": "conv1_conv", "norm0": "conv1_bn", "norm5": "bn"}[end], end != "conv0"
    if transition:
        kind = {"norm": "bn", "conv": "conv"}[between]
        return f"pool{int(transition) + 1}_{kind}", kind == "bn"
    name = f"conv{int(block) + 1}_block{layer}"
    if kind == "norm":  # before the convolution of the same number
        return f"{name}_{int(place) - 1}_bn", True
    return f"{name}_{place}_conv", False


def _transformer(tensors: Tensors) -> Parameters:
    params: Parameters = {}
    for key, value in tensors.items():
        match = _TRANSFORMER.fullmatch(key)
        if match is None:
            params[key.replace(".", "/")] = value
            continue
        block, kind, place, norm, part = match.groups()
        layer = _transformer_layer(block, kind, int(place or norm))
        if norm and part in ("weight", "bias"):
            params[f"{layer}_norm/{_NORM[part]}"] = value
        elif not norm and part == "weight":
            params[f"{layer}/kernel"] = _layout(value)
        elif layer == "out" and part == "bias":
            params["out/bias"] = value
    return params


def _transformer_layer(block: str | None, kind: str | None, place: int) -> str:
    """Return our name of a convolution, or of the one before a normalisation."""
    if block:
        return f"res{block}_{place}"
    if kind is None and place > 3:  # they are counted through
        kind, place = "deconv", place - 3
    if kind == "deconv":
        return "out" if place == 3 else f"up{place}"
    return f"conv{place}"


def _layout(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """OIHW to HWIO."""
    return np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)) if kernel.ndim == 4 else kernel
