"""Where parameters come from: readers, the native format, checks, known files.

Parameters travel as a flat dict of float32 NumPy arrays, named ``conv1_1/kernel`` (height, width,
inputs, outputs) and ``conv1_1/bias``. No file that is read here can make code run, and sizes are
bounded before memory is taken.
"""

from jaxnst.weights._files import Parameters
from jaxnst.weights.check import check_parameters
from jaxnst.weights.native import write_parameters
from jaxnst.weights.reader import read_parameters
from jaxnst.weights.registry import KnownFile, digest, find_known, known_files
from jaxnst.weights.resolver import bundled, bundled_styles

__all__ = [
    "KnownFile",
    "Parameters",
    "bundled",
    "bundled_styles",
    "check_parameters",
    "digest",
    "find_known",
    "known_files",
    "read_parameters",
    "write_parameters",
]
