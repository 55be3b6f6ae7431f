"""What the programs that read files in a process of their own share: see weights/_process.py.

Such a program gets a file's name as its argument and answers on standard output: MARK, one line of
JSON, ``{"layers": [[name, [shape, ...]], ...]}`` or ``{"error": text}``, then the values of all
arrays in that order as float32.

Nothing in this folder imports jaxnst, which takes as long again as the library that reads. So it is
run as a package of its own, ``python -m _child.hdf5``, and its imports are relative.
"""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

MARK = b"jaxnst-layers:"

# Both far above what a loss network needs: a whole VGG19 has 144 million values, of which 20 are in
# convolutions.
MAX_VALUES = 2**26
MAX_MEMORY = 4 * 2**30

Layers = Iterator[tuple[str, list[Any]]]
"""Layers by name, each with its float32 arrays."""


class Refused(Exception):
    """What is wrong with the file, and what to do; follows the file's name."""


def quote(name: str) -> str:
    """Show a name that came out of the file."""
    return repr(name if len(name) <= 60 else name[:57] + "...")


def answer(read_layers: Callable[[str], Layers], path: str) -> None:
    """Read one file under a limit of memory, and answer on standard output.

    The reader's libraries have to be there already: they reserve much and use little.
    """
    _set_limits()
    try:
        layers = list(read_layers(path))
        found: dict[str, Any] = {"layers": [[n, [v.shape for v in vs]] for n, vs in layers]}
    except Refused as error:
        layers, found = [], {"error": str(error)}
    except Exception as error:  # whatever the library makes of a damaged file
        text = f"is cut short or damaged ({str(error)[:200]}): copy or download it again"
        layers, found = [], {"error": text}
    out = sys.stdout.buffer
    out.write(MARK + json.dumps(found).encode() + b"\n")
    for _, values in layers:
        for value in values:
            out.write(value.tobytes())


def _set_limits() -> None:
    """Let a damaged size inside the file fail here, not the machine; leave no core file."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    except (ImportError, OSError, ValueError):  # not on this system, or already lower
        pass
