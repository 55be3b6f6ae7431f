"""Batches that are killed, stopped and doubled, in processes forked from one that imported all.

Called with a folder that holds ``photos`` and ``paintings``; prints what it has seen as JSON.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import helpers

from jaxnst import cli

GIVEN = ("--contents", "photos", "--styles", "paintings", "--size", "32", "--at-once", "2")
GIVEN += ("--optimizer", "adam", "--steps", "3", "--init", "noise", *helpers.SHALLOW)


def begin(out, *more):
    """Start a batch in a process of its own."""
    child = os.fork()
    if child:
        return child
    with open(f"{out}.log", "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        os._exit(cli.main(["batch", *GIVEN, "--out", out, *more]))


def end(child):
    """Wait for it: its exit status, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def lines(out):
    """Lines of the log that are whole, and how many there are that are not."""
    whole, broken = [], 0
    with contextlib.suppress(FileNotFoundError):
        for line in Path(out, "results.jsonl").read_text().splitlines():
            try:
                whole.append(json.loads(line)["output"])
            except ValueError:
                broken += 1
    return whole, broken


def hidden(out):
    return sorted(path.name for path in Path(out).glob(".*"))


def wait_for(condition):
    until = time.monotonic() + 600
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)


def pictures(out):
    return {path.name: path.read_bytes() for path in Path(out).glob("*.png")}


def left(out):
    """Rows that are to be painted yet."""
    return {*pictures("whole")} - ({*lines(out)[0]} & {*pictures(out)})


def killed(seen):
    """At moments of all kinds while there is work left, and then twice at once to the end."""
    seen["whole"] = end(begin("whole"))
    rng, seen["killed"] = random.Random(0), []
    for i in range(8):
        leave_something("out")
        rows = max(1, len(left("out")) - i % 3)
        child = begin("out")
        wait_for(lambda rows=rows: len(left("out")) <= rows)
        time.sleep(rng.uniform(0, 0.1 if i % 3 else 1))  # it begins with a second of preparation
        os.kill(child, signal.SIGKILL)
        seen["killed"].append(end(child))
    leave_something("out")
    for path in Path("out").glob(".jaxnst-*.tmp"):
        os.utime(path, (0, 0))  # what was killed while it wrote is deleted a day later
    before, wanted = len(lines("out")[0]), len(left("out"))
    both = [begin("out"), begin("out")]
    seen["both"] = sorted(map(end, both))
    seen["doubled"] = len(lines("out")[0]) - before - wanted
    seen["hidden"] = hidden("out")
    seen["same"] = pictures("out") == pictures("whole")


def leave_something(out):
    """Take pictures away if all are there: a batch with nothing to do is hard to disturb."""
    if not left(out):
        for name in ("a-x.png", "b-y.png", "c-x.png"):
            Path(out, name).unlink()


def stopped(seen):
    """By Ctrl-C while it paints."""
    child = begin("cut", "--steps", "1000")
    wait_for(lambda: pictures("cut"))
    os.kill(child, signal.SIGINT)
    seen["stopped"] = end(child)
    found, broken = lines("cut")
    seen["cut"] = [sorted(found) == sorted(pictures("cut")), 0 < len(found) < 6, broken]
    seen["cut_hidden"] = hidden("cut")


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    facts = {}
    killed(facts)
    stopped(facts)
    sys.stdout.write(json.dumps(facts))
