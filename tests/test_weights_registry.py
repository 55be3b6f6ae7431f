import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from jaxnst.weights import bundled, find_known, known_files, read_parameters, registry

CHECKOUT = Path(__file__).parents[1]

# Known files.


def shared(path):
    folder = os.environ.get("JAXNST_SHARED")
    if not folder:
        pytest.skip("JAXNST_SHARED does not name the folder of shared files")
    return Path(folder) / "weights" / path


def test_the_table_is_consistent():
    files = known_files()
    assert files[0].name == "vgg16-lite.safetensors"
    digests = [f.md5 or f.sha256 or f.sha256_prefix for f in files]
    assert len(set(filter(None, digests))) == len(list(filter(None, digests)))
    for known in files:
        assert all((known.network, known.format, known.origin, known.license, known.preprocessing))
        assert known.preprocessing in {"caffe", "imagenet", "matconvnet", "identity"}
        assert re.fullmatch(r"([0-9a-f]{32})?", known.md5)
        assert re.fullmatch(r"([0-9a-f]{64})?", known.sha256)
        assert re.fullmatch(r"[0-9a-f]*", known.sha256_prefix)
        if known.url:
            assert known.url.startswith("https://") and known.url.endswith("/" + known.name)
        if known.sha256_prefix:
            assert f"-{known.sha256_prefix}." in known.name


@pytest.mark.parametrize("name", ["vgg19-lite.safetensors", "vgg16-lite.safetensors"])
def test_the_bundled_networks_have_the_digests_of_the_table(name):
    (known,) = (file for file in known_files() if file.name == name)
    assert hashlib.sha256(bundled(name).read_bytes()).hexdigest() == known.sha256
    assert find_known(bundled(name)) == known


@pytest.fixture
def own_table(tmp_path, monkeypatch):
    """A table with one file known by each kind of digest; the content is its name."""
    sha, md5 = hashlib.sha256(b"prefix").hexdigest(), hashlib.md5(b"md5").hexdigest()
    rest = 'network="n"\nformat="f"\norigin="o"\nlicense="l"\npreprocessing="caffe"\n'
    table = {
        "unknown": "",
        "size": f'size=1\nsha256="{hashlib.sha256(b"size").hexdigest()}"',
        "sha256": f'size=6\nsha256="{hashlib.sha256(b"sha256").hexdigest()}"',
        "prefix": f'sha256_prefix="{sha[:8]}"',
        "md5": f'md5="{md5}"',
    }
    text = "".join(f'[[file]]\nname="{name}"\n{rest}{own}\n' for name, own in table.items())
    (tmp_path / "registry.toml").write_text(text)
    monkeypatch.setattr(registry, "bundled", lambda name: tmp_path / name)
    known_files.cache_clear()
    yield
    known_files.cache_clear()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("sha256", "sha256"),
        ("md5", "md5"),
        ("prefix", "prefix"),
        ("unknown", None),
        ("size", None),  # the table says another size
    ],
)
def test_a_known_file_is_found_by_content(tmp_path, own_table, content, name):
    (tmp_path / "renamed").write_text(content)
    known = find_known(tmp_path / "renamed")
    assert (known and known.name) == name


@pytest.mark.weights
@pytest.mark.parametrize(
    "path",
    [
        "squeezenet1.1/squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "vgg19-conv1-3/vgg19_caffe_bgr_conv1_1-conv3_4_HWIO.npz",
        "vgg19-distilled-16x/5SE.pth",
        "vgg-normalised/vgg_normalised_conv3_1.pth",
    ],
)
def test_real_files_are_known(path):
    known = find_known(shared(path))
    assert known is not None and known.name == Path(path).name


@pytest.mark.weights
def test_a_real_keras_file_reads():
    path = shared("squeezenet1.1/squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5")
    found, _ = read_parameters(path)
    assert len(found) == 50 and found["conv1/kernel"].shape == (3, 3, 3, 64)
    with h5py.File(path) as file:
        expected = file["fire2/expand3x3/fire2/expand3x3_3/kernel:0"][()]
    np.testing.assert_array_equal(found["fire2_expand3x3/kernel"], expected)


# The resolver.


def run_copy(folder, code):
    """Run code on a copy of the package, alone in a folder but for what it imports of jaxnst."""
    (folder / "jaxnst").mkdir(parents=True)
    (folder / "jaxnst/__init__.py").touch()
    shutil.copy(CHECKOUT / "jaxnst/_files.py", folder / "jaxnst")
    ignored = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(CHECKOUT / "jaxnst/weights", folder / "jaxnst/weights", ignore=ignored)
    (folder / "weights").mkdir()
    (folder / "weights/registry.toml").write_text("file = []")

    def run():
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", f"from jaxnst.weights import *; {code}"],
            cwd=folder.parent,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
        )

    return run


def test_a_wheel_finds_its_own_data_and_nobody_elses(tmp_path):
    run = run_copy(tmp_path / "site-packages", "print(bundled('registry.toml'))")
    assert "FileNotFoundError: registry.toml is missing from" in run().stderr
    data = tmp_path / "site-packages/jaxnst/weights/data"
    data.mkdir()
    (data / "registry.toml").touch()
    assert Path(run().stdout.strip()) == data / "registry.toml"


def test_a_checkout_finds_the_folder_at_its_top(tmp_path):
    run = run_copy(tmp_path / "checkout", "print(bundled('registry.toml'), known_files())")
    (tmp_path / "checkout/pyproject.toml").touch()
    assert run().stdout.strip() == f"{tmp_path / 'checkout/weights/registry.toml'} ()"


def test_importing_reads_no_file_and_loads_no_hdf5(tmp_path):
    code = "import sys; sys.exit('h5py' in sys.modules or known_files.cache_info().currsize)"
    assert run_copy(tmp_path / "a", code)().returncode == 0


def test_a_missing_bundled_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"nothing\.bin is missing from"):
        bundled("nothing.bin")
