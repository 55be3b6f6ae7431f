"""Read many files with a program of jaxnst/weights/_child, each in a fork: starting it is dear.

``python fuzz_process.py PROGRAM SECONDS FILE...`` leaves each answer in FILE.answer and writes
how each fork ended, as JSON: 0, the number of the signal that killed it, or minus its exit status.
"""

import importlib
import json
import os
import signal
import sys


def read(program, seconds, path):
    """Become the program, reading one file."""
    signal.alarm(seconds)
    with open(f"{path}.answer", "wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
    program.main(path)
    sys.stdout.flush()


def ending(program, seconds, path):
    """Read one file in a fork."""
    process = os.fork()
    if not process:
        status = 1
        try:
            read(program, seconds, path)
            status = 0
        finally:
            os._exit(status)
    return -os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    name, seconds, *paths = sys.argv[1:]
    program = importlib.import_module(f"_child.{name}")
    program.load()
    sys.stdout.write(json.dumps([ending(program, int(seconds), path) for path in paths]))
