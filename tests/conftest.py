"""What every test runs under: strict arrays, and skips that give their reason."""

import importlib.util
import os
import signal
import tempfile
from pathlib import Path

# Most of the time of these tests is compilation, often of programs that an earlier test has
# compiled. They are kept for one run of pytest, or in a folder of your own if this variable names
# one; the cache folder of the user is neither read nor written. JAX does not write atomically, so
# each worker of pytest-xdist has a folder to itself. JAX reads the variables when it is imported.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["JAX_COMPILATION_CACHE_DIR"] += f"/{worker}"
elif "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    programs = tempfile.TemporaryDirectory(prefix="jaxnst-programs-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs.name
# Programs of tests run for less time than LLVM needs to optimize them. XLA's own passes, which
# decide what is fused and what is kept in memory, are the same.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import hypothesis
import jax
import numpy as np
import pytest

# A busy machine is slow now and then; no test of a property is about time.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# An accidental broadcast is the commonest silent error in array code.
jax.config.update("jax_numpy_rank_promotion", "raise")

# Under nohup it would be ignored here and in the processes that tests start and stop by it.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_runtest_setup(item):
    """Skip, with the reason, what this machine cannot run."""
    if item.get_closest_marker("weights") and not os.environ.get("JAXNST_SHARED"):
        pytest.skip("needs real parameters: set JAXNST_SHARED to the folder that holds weights/")
    if item.get_closest_marker("torch") and not _installed("torch", "keras"):
        pytest.skip("needs PyTorch or Keras: neither is installed")
    if item.get_closest_marker("gpu") and jax.default_backend() != "gpu":
        pytest.skip(f"needs a GPU: JAX runs on {jax.default_backend()}")


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Drop the programs of a module: all of them have more mappings than Linux allows a process."""
    yield
    jax.clear_caches()


@pytest.fixture
def optimized():
    """Compile as users do, for a test that runs its programs for long."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", before)


def _installed(*names):
    return any(importlib.util.find_spec(name) for name in names)


@pytest.fixture(scope="session")
def shared():
    """The folder of real weights and pictures, which is not part of the project."""
    folder = os.environ.get("JAXNST_SHARED")
    if not folder:
        pytest.skip("needs the shared folder: set JAXNST_SHARED to it")
    if not Path(folder).is_dir():
        pytest.skip(f"JAXNST_SHARED is {folder}, which is not a folder")
    return Path(folder)


@pytest.fixture(scope="module")
def torch():
    """PyTorch, where it is installed."""
    return pytest.importorskip("torch", reason="PyTorch is not installed: extra `torch`")


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def features(rng):
    """What a ReLU gives: half zeros, a mean that is not zero."""
    return jax.numpy.asarray(np.maximum(rng.normal(0.3, 1, (7, 9, 5)), 0), jax.numpy.float32)


@pytest.fixture
def target(rng):
    """The same of another picture."""
    return jax.numpy.asarray(np.maximum(rng.normal(0.1, 2, (7, 9, 5)), 0), jax.numpy.float32)


@pytest.fixture
def signals():
    """Set handlers back: a stop leaves others behind."""
    from jaxnst.cli.interrupt import SIGNALS

    before = {each: signal.getsignal(each) for each in SIGNALS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.fixture
def no_cache_folder():
    """JAX keeps programs nowhere until it is told where, as outside of these tests."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def call(capsys):
    """Call ``jaxnst`` in this process: status, stdout, stderr."""
    return _caller("main", capsys)


@pytest.fixture
def run(capsys):
    """Call ``jaxnst-run`` in this process: status, stdout, stderr."""
    return _caller("main_run", capsys)


def _caller(name, capsys):
    from jaxnst import cli  # not at the top: pytest's type checks would miss what it imports

    def command(*arguments):
        try:
            status = getattr(cli, name)([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return command
