"""Devices that are not there, and users without a home: one line each."""

import os
import subprocess
import sys

import helpers
import pytest

from jaxnst._files import user_folder
from jaxnst.cli import device
from jaxnst.image import save_image
from jaxnst.weights.fetch import fetched_path, is_fetched


@pytest.fixture
def homeless(monkeypatch, no_cache_folder):
    """Be a user number without an entry in the list of users, and without HOME."""
    pwd = pytest.importorskip("pwd", reason="not a system of the Unix kind")

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_programs_are_not_kept_and_a_notice_says_so(monkeypatch):
    monkeypatch.setattr(device, "_set", lambda *_: pytest.fail("changed a setting"))
    told = []
    device.keep_programs(told.append)
    assert told == [
        "compiled programs are not kept for the next run: this user has no home folder: set HOME "
        "or XDG_CACHE_HOME to a folder"
    ]


@pytest.mark.usefixtures("homeless")
def test_without_a_home_nothing_is_fetched_and_networks_are_listed(capsys, call):
    assert not is_fetched("vgg19")
    with pytest.raises(FileNotFoundError, match="set HOME or XDG_DATA_HOME"):
        fetched_path("vgg19")
    status, out, err = call("weights", "list")
    assert status == 0 and not err and "jaxnst weights fetch vgg19" in out
    status, _, err = call("weights", "fetch", "vgg19")
    assert status == 1 and "set HOME or XDG_DATA_HOME" in err


@pytest.mark.usefixtures("homeless")
def test_a_home_that_is_set_is_enough(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_folder("cache") == tmp_path / "jaxnst"


@pytest.mark.parametrize("name", ["JAX_PLATFORMS", "JAX_PLATFORM_NAME"])
@pytest.mark.parametrize("kind", ["cuda", "tpu", "nonsense"])
def test_a_kind_of_device_that_is_not_there_is_one_clear_line(name, kind, tmp_path):
    for file in ("c.png", "s.png"):
        save_image(tmp_path / file, helpers.picture(16, 16))
    own = {name: kind, "CUDA_VISIBLE_DEVICES": "-1", "TPU_SKIP_MDS_QUERY": "1"}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-m", "jaxnst", "run", "c.png", "s.png", "-o", "o.png", "--quiet"],
        cwd=tmp_path,
        env=environment | own,
        capture_output=True,
        text=True,
        check=False,
    )
    line, rest = done.stderr.split("\n", 1)
    assert done.returncode == 2 and not rest
    assert line.startswith(f"jaxnst run: error: JAX cannot start a device, {name} is {kind}")
    assert line.endswith(f": unset {name}, or use --device cpu")
