"""Read a file in a process of its own, where a crash or a hang becomes an error.

HDF5 and SciPy's reader of MATLAB files are C code that crashes or never returns on some damaged
files: one flipped bit can be enough. Apart, they also keep any other harm in a hostile file away
from the caller's memory. The programs are in ``_child/``.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jaxnst.weights._child import MARK
from jaxnst.weights._files import AGAIN, DAMAGED, one_line

SECONDS = 60  # a whole VGG19 takes one, or seven from a compressed MATLAB file

_FOLDER = Path(__file__).parent  # of the package _child

Layers = dict[str, list[NDArray[np.float32]]]


def read_layers(program: str, library: str, path: str) -> Layers:
    """Return a file's layers, each with its arrays, as a program finds them.

    Args:
      program: A module of ``_child/``.
      library: What it reads with, for the message.
      path: The file.

    Raises:
      ValueError: If the program refuses the file, crashes on it or takes too long, in one line.
    """
    done = _run(program, path)
    _, mark, answer = done.stdout.partition(MARK)
    if done.returncode or not mark:
        raise ValueError(f"{path} {DAMAGED} ({library} failed on it): {AGAIN}")
    return _layers(path, answer)


def _layers(path: str, answer: bytes) -> Layers:
    line, _, values = answer.partition(b"\n")
    found = json.loads(line)
    if "error" in found:
        raise ValueError(f"{path} {one_line(found['error'], 300)}")
    layers: Layers = {}
    start = 0
    for name, shapes in found["layers"]:
        layers[one_line(name, 80)] = arrays = []
        for shape in shapes:
            count = math.prod(shape)
            flat = np.frombuffer(values, "<f4", count, start)
            arrays.append(flat.astype(np.float32).reshape(shape))
            start += 4 * count
    return layers


def _run(program: str, path: str) -> subprocess.CompletedProcess[bytes]:
    # The same libraries as here; the folder comes last, so that nothing in it hides another module.
    paths = [*filter(None, sys.path), str(_FOLDER)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "HDF5_PLUGIN_PRELOAD": "::",  # no filter is loaded, whatever the file asks for
        "OPENBLAS_NUM_THREADS": "1",  # their stacks would count against the memory limit
    }
    try:
        return subprocess.run(
            [sys.executable, "-P", "-m", f"_child.{program}", os.path.abspath(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{path} {DAMAGED} (not read after {SECONDS} s): {AGAIN}") from None
