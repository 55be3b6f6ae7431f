"""Training runs that are killed and stopped, in processes forked from one that imported all.

Called with a folder that holds ``style.png`` and ``photos``; prints what it has seen as JSON.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import grain  # noqa: F401  # imported here, so that a fork need not: nothing starts a device
import orbax.checkpoint  # noqa: F401

import jaxnst.cli.training  # noqa: F401
from jaxnst import cli

GIVEN = ("style.png", "--images", "photos", "--steps", "24", "--crop", "32", "--batch", "2")
GIVEN += ("--widths", "4", "--blocks", "1", "--style-size", "48", "--optimizer", "adam")
GIVEN += (
    "--about",
    "A Pattern, nobody, 2026",
    "--style-layers",
    "relu1_1",
    "--content-layers",
    "relu2_1",
    "--checkpoint-every",
    "0",
)
WATCHED = ("--samples", "16", "--plot", "whole/plot.png", "--checkpoint", "kept")
"""What changes nothing of what is learned."""


def begin(out, *more):
    """Start training in a process of its own, in a session of its own."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    with open(f"{out}.log", "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        os.makedirs(out, exist_ok=True)
        files = ("-o", f"{out}/model.safetensors", "--log", f"{out}/log.jsonl")
        os._exit(cli.main(["train", *GIVEN, *files, *more]))


def end(child):
    """Wait for it: its exit status, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def log(out):
    path = Path(out, "log.jsonl")
    return path.read_text().splitlines() if path.exists() else []


def losses(out):
    lines = map(json.loads, log(out))
    return [(line["step"], line["losses"]) for line in lines]


def after(steps, out, child, number):
    """Send a signal to its session after some steps."""
    wanted, until = len(log(out)) + steps, time.monotonic() + 600
    while len(log(out)) < wanted and time.monotonic() < until:
        time.sleep(0.002)
    os.killpg(child, number)
    return end(child)


def same(out):
    model = Path(out, "model.safetensors").read_bytes()
    whole = Path("whole", "model.safetensors").read_bytes()
    return [model == whole, losses(out) == losses("whole"), sorted(os.listdir(out))]


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    seen = {"whole": end(begin("whole", *WATCHED))}
    rest = "--samples", "0"
    for name in ("SIGINT", "SIGHUP"):
        child = begin("cut", *rest, "--workers", "1")
        seen[name] = after(3, "cut", child, getattr(signal, name))
    seen["left"] = sorted(os.listdir("cut"))
    seen["killed"] = after(3, "cut", begin("cut", *rest), signal.SIGKILL)
    seen["end"] = end(begin("cut", *rest))
    seen["same"] = same("cut")
    sys.stdout.write(json.dumps(seen))
