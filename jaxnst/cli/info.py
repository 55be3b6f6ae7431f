"""``jaxnst info``: what a report of a problem should say of a machine."""

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator, Sequence

from jaxnst._files import name_of, user_folder
from jaxnst._memory import available_on_host
from jaxnst._version import __version__
from jaxnst.cli.cache import describe_cache
from jaxnst.cli.errors import explain, guarded
from jaxnst.cli.flags import MachineFlags, Parser, add_fields
from jaxnst.cli.messages import amount, quiet_xla

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "jaxopt", "numpy", "pillow")
OPTIONAL = (
    *("av", "matplotlib", "imagecodecs", "tifffile", "grain", "orbax-checkpoint"),
    *("torch", "ray", "argcomplete", "starlette", "uvicorn"),
)
"""Libraries that extras install."""

SETTINGS = ("JAX_", "XLA_", "PJRT_", "NPROC", "CUDA_VISIBLE_DEVICES")
"""How the names of environment variables begin that change what is computed on or with."""


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = Parser(
        prog=prog,
        description="Print versions, devices, memory, settings and the size of the cache.",
    )
    add_fields(parser, MachineFlags, ["debug"])
    flags = parser.read(arguments)
    quiet_xla(debug=flags.debug)
    return guarded(prog, _info, debug=flags.debug)


def _info() -> int:
    for name, text in _facts():
        print(f"{name:<10}{text}", flush=True)  # JAX may take its time to find devices
    return 0


def _facts() -> Iterator[tuple[str, str]]:
    yield "jaxnst", __version__
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield "Python", python
    yield "libraries", _versions(LIBRARIES)
    yield "optional", _versions(OPTIONAL) or "none"
    memory = available_on_host()
    yield "memory", "unknown" if memory is None else f"{amount(memory)} available"
    for name, describe in (("cache", describe_cache), ("weights", _weights)):
        try:
            yield name, describe()
        except OSError as error:
            yield name, explain(error)
    for name, value in sorted(os.environ.items()):
        if name.startswith(SETTINGS):
            yield "setting", f"{name}={name_of(value)}"
    yield "devices", _devices()


def _versions(names: Sequence[str]) -> str:
    """List those libraries that are installed, with their versions."""
    versions = []
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(versions)


def _weights() -> str:
    folder = user_folder("data") / "weights"
    fetched = sorted(path.stem for path in folder.glob("*.safetensors"))
    return f"{name_of(folder)}, fetched: {', '.join(fetched) or 'none'}"


def _devices() -> str:
    import jax

    from jaxnst.cli.device import describe, use_device

    default = use_device(None)
    return ", ".join(dict.fromkeys(describe(device) for device in (default, *jax.devices())))
