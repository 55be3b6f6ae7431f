"""Read many files with a reader of jaxnst.weights._child, each in a fork: starting it is slow.

``python fuzz_process.py READER SECONDS FILE...`` leaves each answer in FILE.answer and writes
how each fork ended, as JSON: 0, the number of the signal that killed it, or minus its exit status.
"""

import importlib
import json
import os
import signal
import sys

from jaxnst.weights import _child


def read(reader, seconds, path):
    """Write the answer for one file; this process cannot be used after that."""
    signal.alarm(seconds)
    with open(f"{path}.answer", "wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
    _child.answer(reader, path)
    sys.stdout.flush()


def ending(reader, seconds, path):
    """Read one file in a fork."""
    process = os.fork()
    if not process:
        status = 1
        try:
            read(reader, seconds, path)
            status = 0
        finally:
            os._exit(status)
    return -os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    reader, seconds, *paths = sys.argv[1:]
    importlib.import_module(f"jaxnst.weights.{reader}")
    sys.stdout.write(json.dumps([ending(reader, int(seconds), path) for path in paths]))
