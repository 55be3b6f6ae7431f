"""How many threads a CPU computes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import os
import sys

if sys.argv[1:]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp

from jaxnst.optim.sharding import threads_of

jax.jit(jnp.sin)(1.0).block_until_ready()
names = [open(f"/proc/self/task/{n}/comm").read() for n in os.listdir("/proc/self/task")]
print(threads_of(jax.devices()[0]), sum("XLAEigen" in name for name in names))
"""
"""Prints what is worked out, and how many threads there are of the name that XLA gives them."""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed by Linux")
@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({}, (), None),
        ({}, ("one",), 1),
        ({"PJRT_NPROC": "3", "NPROC": "5"}, ("one",), 3),
        ({"PJRT_NPROC": "many", "NPROC": "3"}, (), 3),
        ({"PJRT_NPROC": "0"}, (), 1),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=5"}, ("one",), 5),
    ],
)
def test_the_threads_are_those_that_xla_starts(environment, arguments, expected):
    plain = {k: v for k, v in os.environ.items() if not k.endswith(("NPROC", "XLA_FLAGS"))}
    done = subprocess.run(
        [sys.executable, "-c", COUNT, *arguments],
        env={**plain, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found, started = map(int, done.stdout.split())
    assert found == (len(os.sched_getaffinity(0)) if expected is None else expected)
    assert started in (found, 0), "0: this version of XLA gives its threads another name"
