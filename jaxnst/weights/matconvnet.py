"""Read MatConvNet's ``.mat`` files, such as ``imagenet-vgg-verydeep-19.mat``.

Both generations are understood: in the older a convolution has ``filters`` and ``biases`` and the
file a ``normalization``; in the newer it has ``weights``, a cell of both, and the file a ``meta``.
A whole network in a variable ``net`` will do too. Classifiers are left out.

Order of the axes: the official files were made from Caffe's by MatConvNet's own
``utils/import-caffe.py``. It turns Caffe's order, which MATLAB sees as width x height x inputs x
outputs, into height x width x inputs x outputs unless ``--no-transpose`` is given, exchanges BGR
for RGB, and writes with SciPy's ``savemat``. So the arrays are HWIO as they are read, and are taken
so. Some programs exchange the first two axes as they read these files, which mirrors every filter
at its diagonal. The real file was not at hand and was never seen running here: whoever has it can
tell by one look at its conv1_1 beside another copy of the same network.

SciPy's reader runs in a process of its own: see ``_process.py``.
"""

import os

from jaxnst.weights._files import Parameters
from jaxnst.weights._process import read_layers

FORMAT = "matconvnet"


def matches(head: bytes) -> bool:
    """Tell MATLAB files of version 5 (to 7.2) by their first bytes."""
    return head.startswith(b"MATLAB 5.0")


def read(path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Read a MatConvNet file; see :func:`jaxnst.weights.read_parameters`."""
    params: Parameters = {}
    for layer, values in read_layers("matlab", "SciPy", os.fspath(path)).items():
        for part, value in zip(("kernel", "bias"), values, strict=False):
            params[f"{layer}/{part}"] = value
    return params, {"format": FORMAT, "preprocessing": "matconvnet"}
