"""Where parameters come from: readers, the native format, checks, known files.

Parameters travel as a flat dict of float32 NumPy arrays, named ``conv1_1/kernel`` (height, width,
inputs, outputs) and ``conv1_1/bias``. No file that is read here can make code run, and sizes are
bounded before memory is taken.
"""

from jaxnst.weights._files import Parameters
from jaxnst.weights.native import write_parameters
from jaxnst.weights.reader import check_parameters, read_parameters
from jaxnst.weights.registry import KnownFile, bundled, bundled_styles, find_known, known_files

__all__ = [
    "KnownFile",
    "Parameters",
    "bundled",
    "bundled_styles",
    "check_parameters",
    "find_known",
    "known_files",
    "read_parameters",
    "write_parameters",
]
