"""Loss networks by name: module, layer names, preprocessing and parameters, as one value."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float

from jaxnst._checks import among, channels_last, floating, unit_range, unknown
from jaxnst._numerics import default_numerics
from jaxnst._types import Features, Image
from jaxnst.networks.color_space import encode
from jaxnst.networks.convnet import ConvNet, Layer
from jaxnst.networks.cpu import winograd
from jaxnst.networks.densenet import DENSENET121, DENSENET169, DENSENET201, DenseNet
from jaxnst.networks.precision import rounded
from jaxnst.networks.squeezenet import SqueezeNet
from jaxnst.networks.vgg import EDGE_WHERE_IT_SHOWS, VGG, VGG16, VGG16_LITE, VGG19, VGG19_LITE
from jaxnst.recipes.schema import PREPROCESSING, Padding, Pooling, Precision, Space
from jaxnst.weights import bundled, check_parameters, find_known, read_parameters
from jaxnst.weights.fetch import fetched_path, is_fetched
from jaxnst.weights.native import FORMAT
from jaxnst.weights.state_dict import UNSAID

Params = dict[str, dict[str, jax.Array]]


class _Entry(NamedTuple):
    module: ConvNet
    preprocessing: str
    file: str | None = None


NETWORKS = {
    "vgg16-lite": _Entry(VGG(VGG16_LITE, padding="edge"), "imagenet", "vgg16-lite.safetensors"),
    "vgg19-lite": _Entry(
        VGG(VGG19_LITE, exceptions=EDGE_WHERE_IT_SHOWS), "imagenet", "vgg19-lite.safetensors"
    ),
    "vgg19": _Entry(VGG(VGG19), "caffe"),
    "vgg16": _Entry(VGG(VGG16), "caffe"),
    "vgg19-torchvision": _Entry(VGG(VGG19), "imagenet"),
    "vgg16-torchvision": _Entry(VGG(VGG16), "imagenet"),
    "densenet121": _Entry(DenseNet(DENSENET121), "imagenet"),
    "densenet169": _Entry(DenseNet(DENSENET169), "imagenet"),
    "densenet201": _Entry(DenseNet(DENSENET201), "imagenet"),
    "squeezenet1.1": _Entry(SqueezeNet(), "caffe"),
}


def network_entry(name: str) -> _Entry:
    """Return a network's row of ``NETWORKS``; raise KeyError with the names that there are."""
    if name not in NETWORKS:
        raise KeyError(unknown("network", name, NETWORKS))
    return NETWORKS[name]


@dataclass(frozen=True)
class LossNetwork:
    """A frozen network whose feature maps a loss compares.

    Parameters are left out of equality and hash, so a network can be a static argument of
    ``jax.jit`` while ``network.params`` is passed beside it as a traced one. Inside a compiled
    function use the parameters that were passed, never ``network.params``.

    Attributes:
      name: Name it was loaded by.
      module: The Flax module, of any family. It takes images that are already in the space
        ``preprocessing``; :meth:`features` takes RGB.
      preprocessing: Space that the module expects its input in.
      layers: Names of the available layers, shallow to deep.
      params: Parameters by layer: ``{"conv1_1": {"kernel": ..., "bias": ...}, ...}``.
      unit_means: Whether its filters have been rescaled to a mean activation of 1.
    """

    name: str
    module: ConvNet
    preprocessing: Space
    layers: tuple[str, ...]
    params: Params = field(compare=False, repr=False)
    unit_means: bool = field(default=False, compare=False)

    def features(
        self, params: Params, image: Float[Array, "*batch h w 3"], layers: tuple[str, ...]
    ) -> dict[str, Float[Array, "*batch _ _ _"]]:
        """Compute the feature maps of ``layers``, and nothing deeper than the deepest.

        The preprocessing happens here: pass a plain RGB image. ``module.apply`` does none, and is
        not meant to be called directly.

        Args:
          params: ``self.params``, or traced values in their place.
          image: RGB in [0, 1], or a batch ``B H W 3``. The range is not checked, as it may be
            traced; :func:`extract_features` checks it.
          layers: Names from ``self.layers`` or Keras' names for them.

        Returns:
          Feature maps under the given names, of the dtype of the network's precision.

        Raises:
          KeyError: If a layer is not one of the network's.
          TypeError: If the image holds integers, or ``layers`` is a single name.
          ValueError: If the image is too small for a layer to have any position.
        """
        _check_image(image)
        if isinstance(layers, str):
            raise TypeError(f"layers is {layers!r}, expected several names: ({layers!r},)")
        names = {layer: self.resolve(layer) for layer in layers}
        self._check_size(image.shape[-3:-1], names)
        x = rounded(encode(image, self.preprocessing), self.precision)
        params = self.in_precision(params)
        maps: Any = self.module.apply({"params": params}, x, tuple(dict.fromkeys(names.values())))
        return {layer: maps[name] for layer, name in names.items()}

    def resolve(self, layer: str) -> str:
        """Return this network's own name for a layer, or raise KeyError with the known names."""
        name = self.module.alias(layer)
        if name not in self.layers:
            raise KeyError(unknown("layer", layer, self.layers, of=f" of {self.name}"))
        return name

    @property
    def table(self) -> dict[str, Layer]:
        """Channels, stride and least size of every layer of the family, by name."""
        return self.module.table()

    @property
    def precision(self) -> Precision:
        """Precision of feature maps and products (:mod:`jaxnst.networks.precision`)."""
        return self.module.precision

    def in_precision(self, params: Params) -> Params:
        """Round kernels and biases to the network's precision.

        :meth:`features` does so too; done once beforehand, a compiled loop has nothing left to
        round. Parameters of normalizations stay float32.
        """
        return {
            layer: {
                part: rounded(values, self.precision) if part in ("kernel", "bias") else values
                for part, values in parts.items()
            }
            for layer, parts in params.items()
        }

    def prepare(self, params: Params) -> Params:
        """Bring parameters into the form that a compiled loop reads fastest.

        That is the network's precision, and on CPUs kernels transformed for Winograd's filtering
        beside some of the plain ones.
        """
        params = self.in_precision(params)
        return params if self.precision == "bfloat16" else winograd.prepare(params)

    def stride(self, layer: str) -> int:
        """Return how many pixels one position of a layer stands for."""
        return self.table[self.resolve(layer)].stride

    def map_sizes(self, size: tuple[int, ...], layers: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return height and width of feature maps, by layer, for an image of some size.

        Raises:
          ValueError: If the image is too small for a layer to have any position.
        """
        names = {layer: self.resolve(layer) for layer in layers}
        self._check_size(size, names)
        rows, columns = (self.module.fields(side) for side in size)
        return {
            layer: (rows[name].positions, columns[name].positions) for layer, name in names.items()
        }

    def _check_size(self, size: tuple[int, ...], names: Mapping[str, str]) -> None:
        table = self.table
        for layer, name in names.items():
            if min(size) < (least := table[name].least):
                raise ValueError(
                    f"image is {size[1]}x{size[0]} but {layer} needs at least {least} pixels per "
                    "side: enlarge it or drop the layer"
                )

    def configure(
        self,
        *,
        pooling: Pooling | None = None,
        padding: Padding | None = None,
        first_padding: Padding | None = None,
        preprocessing: Space | None = None,
        precision: Precision | None = None,
    ) -> "LossNetwork":
        """Return the network with some settings changed; None keeps what it has.

        Args:
          pooling: Of every pooling.
          padding: Of every convolution, without exceptions.
          first_padding: Of the first convolution alone.
          preprocessing: Of the image.
          precision: Of feature maps and products: ``float32``, ``tf32`` or ``bfloat16``
            (:mod:`jaxnst.networks.precision`).

        Raises:
          ValueError: If the first convolution of such a network cannot have its own padding, or
            there is no such pooling, padding or precision.
        """
        fields = {"pooling": pooling, "padding": padding, "precision": precision}
        choices = {"pooling": Pooling, "padding": Padding, "first padding": Padding}
        choices["precision"] = Precision
        for kind, value in {**fields, "first padding": first_padding}.items():
            if value is not None:
                among(kind, value, get_args(choices[kind]))
        changes: dict[str, Any] = {kind: v for kind, v in fields.items() if v is not None}
        if isinstance(self.module, VGG):
            exceptions = dict(self.module.exceptions if padding is None else ())
            if first_padding is not None:
                exceptions.pop("conv1_1", None)
                exceptions = {"conv1_1": first_padding, **exceptions}
            changes["exceptions"] = tuple(exceptions.items())
        elif first_padding is not None:
            raise ValueError(f"{self.name} has one padding for all convolutions: set padding")
        module = self.module.clone(**changes)
        space = self.preprocessing if preprocessing is None else preprocessing
        return dataclasses.replace(self, module=module, preprocessing=space)


def load_network(
    name: str, *, weights: str | os.PathLike[str] | None = None, preprocessing: str | None = None
) -> LossNetwork:
    """Load a loss network by name.

    Args:
      name: ``vgg16-lite`` or ``vgg19-lite`` (ship with the package), ``vgg16``, ``vgg19``,
        ``vgg16-torchvision``, ``vgg19-torchvision`` (torchvision's own training),
        ``densenet121``, ``densenet169``, ``densenet201`` or ``squeezenet1.1``.
      weights: Parameter file of any format that :func:`jaxnst.weights.read_parameters` knows.
        One that ends at a whole layer gives a network that ends there.
      preprocessing: What the parameters were trained with: ``caffe`` (BGR, 0 to 255, without the
        mean), ``torchvision`` (RGB by ImageNet's mean and deviation; also called ``imagenet``),
        ``matconvnet`` or ``identity``. None: as the table of known files lists for this file, else
        as the file itself states, else as its format implies.

    Returns:
      The network with its parameters on JAX's default device.

    Raises:
      KeyError: If there is no network of that name.
      FileNotFoundError: If the parameter file is not there.
      ValueError: If the file cannot be read, belongs to another network, or the network has no
        parameters of its own and ``weights`` is missing, or its preprocessing is unknown.

    Example:
      >>> network = load_network("vgg16-lite")
      >>> network.layers[:3], network.stride("relu3_1")
      (('conv1_1', 'relu1_1', 'conv1_2'), 4)
    """
    entry = network_entry(name)
    if weights is None:
        if entry.file is None and not is_fetched(name):
            raise ValueError(
                f"{name} is not bundled: run jaxnst weights fetch {name} once, or pass the path of "
                "its parameters as weights"
            )
        weights = bundled(entry.file) if entry.file else fetched_path(name)
    parameters, metadata = read_parameters(weights)
    check_parameters(parameters, entry.module.shapes(), weights)
    if preprocessing is None:
        preprocessing = _preprocessing(name, weights, metadata)
    if preprocessing not in PREPROCESSING:
        known = tuple(PREPROCESSING)
        raise ValueError(f"{weights}: {unknown('preprocessing', preprocessing, known)}")
    module = entry.module
    if isinstance(module, DenseNet) and "epsilon" in metadata:
        module = module.clone(epsilon=_epsilon(weights, metadata["epsilon"]))
    network = make_network(name, module, PREPROCESSING[preprocessing], parameters)
    return dataclasses.replace(network, unit_means=metadata.get("unit_means") == "true")


def _preprocessing(name: str, weights: str | os.PathLike[str], metadata: dict[str, str]) -> str:
    """Return what a file's parameters were trained with."""
    stated = metadata.get("preprocessing", NETWORKS[name].preprocessing)
    if metadata.get("format") == FORMAT:  # jaxnst's own files state it, or have the network's
        return stated
    if (known := find_known(weights)) is not None:
        return known.preprocessing
    if stated == UNSAID:
        raise ValueError(
            f"{os.fspath(weights)} does not say which preprocessing its parameters expect: give "
            "--preprocessing caffe (as of jcjohnson's files) or torchvision"
        )
    return stated


def _epsilon(weights: str | os.PathLike[str], text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise ValueError(
            f"{os.fspath(weights)} has epsilon {text!r}, expected a number above 0 and below 1: "
            "convert the file again"
        )
    return value


@default_numerics()
def make_network(
    name: str, module: ConvNet, preprocessing: Space, parameters: Mapping[str, Any]
) -> LossNetwork:
    """Assemble a loss network from a module and flat parameters (``conv1_1/kernel`` in HWIO)."""
    params = params_by_layer(parameters)
    needed = {key.split("/")[0] for key in module.shapes()}
    layers = takewhile(lambda layer: layer in params or layer not in needed, module.table())
    return LossNetwork(name, module, preprocessing, tuple(layers), params)


def params_by_layer(parameters: Mapping[str, Any]) -> Params:
    """Convert flat parameters, ``{"conv1_1/kernel": ...}``, to float32 arrays by layer."""
    arrays = {key: jnp.asarray(np.asarray(v, np.float32)) for key, v in parameters.items()}
    return unflatten_dict(arrays, sep="/")  # type: ignore[no-untyped-call]


_features = jax.jit(LossNetwork.features, static_argnums=(0, 3))


@default_numerics()
def extract_features(
    network: LossNetwork, image: Image | np.ndarray, layers: str | Sequence[str]
) -> Features:
    """Compute feature maps of an image, compiled.

    Args:
      network: From :func:`load_network`.
      image: ``(H, W, 3)`` RGB in [0, 1].
      layers: Names such as ``relu4_2``, or one; see ``network.layers``.

    Returns:
      Feature maps ``(H', W', C)`` by name.

    Raises:
      KeyError: If a layer is not one of the network's.
      TypeError: If the image holds integers.
      ValueError: If it has another shape, is too small for a layer, or holds values outside [0, 1]
        by more than 0.05 or not finite. The values of traced images are not checked.

    Example:
      >>> image = jnp.full((32, 48, 3), 0.5)
      >>> features = extract_features(load_network("vgg16-lite"), image, ["relu1_1", "pool1"])
      >>> {name: maps.shape for name, maps in features.items()}
      {'pool1': (16, 24, 32), 'relu1_1': (32, 48, 32)}
    """
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    image = jnp.asarray(image)
    _check_image(image)
    if not isinstance(image, jax.core.Tracer) and image.size:
        unit_range("image", float(image.min()), float(image.max()))
    return _features(network, network.params, image, names)


def _check_image(image: Array | np.ndarray) -> None:
    floating("image", image.dtype)
    fits = image.ndim >= 3 and image.shape[-1] == 3
    channels_last("image", image.shape, "(height, width, 3)", fits=fits)


def init_network(name: str, *, seed: int = 0) -> LossNetwork:
    """Make a network with random parameters (He et al. 2015), for tests and benchmarks."""
    entry = network_entry(name)
    rng = np.random.default_rng(seed)
    parameters = {}
    for key, shape in entry.module.shapes().items():
        deviation = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.1
        parameters[key] = rng.normal(0, deviation, shape)
        if key.endswith(("/gamma", "/variance")):
            parameters[key] = 1 + np.abs(parameters[key])
    return make_network(name, entry.module, PREPROCESSING[entry.preprocessing], parameters)
