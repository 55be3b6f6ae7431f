"""Read HDF5 and MATLAB files in another process, where a crash or a hang becomes an error.

The HDF5 library and SciPy's reader of MATLAB files are C code that crashes or never returns on some
damaged files: one flipped bit can be enough. Another process also keeps any other harm in a hostile
file away from the caller's memory. It answers on standard output: MARK, then a safetensors file,
with an ``error`` in its metadata if it refused the file.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

from jaxnst.weights import native
from jaxnst.weights._files import AGAIN, DAMAGED, Parameters, Refused, error_line, one_line

MARK = b"jaxnst-parameters:"

SECONDS = 60  # a whole VGG19 takes one, or seven from a compressed MATLAB file

MAX_MEMORY = 4 * 2**30
"""Far above what a loss network takes."""

LIBRARIES = {"keras_h5": "h5py", "matconvnet": "scipy.io.matlab"}
"""What the readers that run in another process read with."""

_PROGRAM = "import sys; from jaxnst.weights._child import answer; answer(*sys.argv[1:])"


def read_isolated(reader: str, path: str | os.PathLike[str]) -> tuple[Parameters, dict[str, str]]:
    """Return the parameters and metadata that a reader makes of a file in another process.

    The reader is one of LIBRARIES: a module of this package with a function ``read(path)``.

    Raises:
      Refused: If the reader refuses the file, crashes on it or takes too long.
    """
    try:
        done = _run(reader, os.path.abspath(path))
    except subprocess.TimeoutExpired:
        raise Refused(f"{DAMAGED} (not read after {SECONDS} s): {AGAIN}") from None
    _, mark, answer = done.stdout.partition(MARK)
    if done.returncode or not mark:
        raise Refused(f"{DAMAGED} ({LIBRARIES[reader]} failed on it): {AGAIN}")
    params, metadata = native.parse(answer)
    if "error" in metadata:
        raise Refused(one_line(metadata["error"], 300))
    return params, metadata


def _run(reader: str, path: str) -> subprocess.CompletedProcess[bytes]:
    # The libraries that are imported here, and this jaxnst, but nothing else of the current folder.
    folders, root = [*filter(None, sys.path)], str(Path(__file__).parents[2])
    folders = folders if root in folders else [root, *folders]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folders),
        "HDF5_PLUGIN_PRELOAD": "::",  # no filter is loaded, whatever the file asks for
        "OPENBLAS_NUM_THREADS": "1",  # their stacks would count against the memory limit
    }
    return subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM, reader, path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        timeout=SECONDS,
        check=False,
    )


def answer(reader: str, path: str) -> None:
    """Read a file under a limit of memory, and answer on standard output."""
    importlib.import_module(LIBRARIES[reader])  # before the limit: it reserves much and uses little
    _set_limits()
    try:
        module = importlib.import_module(f"jaxnst.weights.{reader}")
        data = native.serialize(*module.read(path))
    except Exception as error:
        data = native.serialize({}, {"error": error_line(error)})
    sys.stdout.buffer.write(MARK + data)


def _set_limits() -> None:
    """Let a damaged size inside the file fail here, not the machine; leave no core file."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    except (ImportError, OSError, ValueError):  # not on this system, or already lower
        pass
