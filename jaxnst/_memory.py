"""The memory that is available to this process: of the machine, without JAX, and of devices."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jax


def available_memory(device: "jax.Device") -> int | None:
    """Return how many bytes are available on a device; None if unknown."""
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return available_on_host()


def available_on_host(
    proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Return how many bytes are available; None if unknown.

    On Linux that is what the machine has, and what is left of the limit of every control group that
    the process is in: its own group's (a container's, a job's) and those of all groups above it. On
    other systems it is all the memory of the machine. ``proc`` and ``cgroup`` are the folders in
    which Linux describes processes and control groups.
    """
    limits = list(_left_in_groups(proc, cgroup))
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024)
    if not limits:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(limits, default=None)


_Files = tuple[tuple[str, ...], tuple[str, ...]]
_V1: _Files = ("memory.limit_in_bytes",), ("total_rss", "total_shmem")
_V2: _Files = ("memory.max", "memory.high"), ("anon", "shmem")
"""Files with a control group's limits, and the lines of memory.stat that count as used."""


def _left_in_groups(proc: Path, cgroup: Path) -> Iterator[int]:
    """Yield what is left of each limit, in bytes; see cgroups(7)."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except (OSError, ValueError):
        lines = ["0::/"]
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):  # version 1
            top, (limits, used) = cgroup / "memory", _V1
        elif number == "0" and not controllers:  # version 2
            top, (limits, used) = cgroup, _V2
        else:
            continue
        # In a container the path may be that of the host, of which only the end, or nothing, is
        # visible from within: folders that do not exist are skipped.
        names = [name for name in path.split("/") if name]
        for depth in range(len(names) + 1) if ".." not in names else (0,):
            group = top.joinpath(*names[:depth])
            for limit in limits:
                with contextlib.suppress(OSError, ValueError):
                    most = int((group / limit).read_text())  # "max" where there is none
                    stat = map(str.split, (group / "memory.stat").read_text().splitlines())
                    yield max(0, most - sum(int(value) for name, value in stat if name in used))
