"""Downloads from a local server, and the commands about parameter files."""

import hashlib
import http.server
import threading
import time
from pathlib import Path

import helpers
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxnst.cli import main
from jaxnst.cli import weights as commands
from jaxnst.networks import PREPROCESSING, extract_features, init_network, load_network
from jaxnst.weights import KnownFile, read_parameters, registry, write_parameters
from jaxnst.weights import fetch as fetching
from jaxnst.weights.fetch import fetch, fetched_path

NAME = "vgg19_official.npz"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one file in many ways, by the first part of the path."""

    data = b""
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self):
        way = self.path.split("/")[1]
        self.asked.append(self.path)
        if way == "missing":
            self.send_error(404)
            return
        data = {"html": b"<html>sign in</html>", "empty": b"", "wrong": self.data[:-1] + b"x"}
        data = data.get(way, self.data)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if way == "cut":
            data = data[: len(data) // 2]
        if way == "silent":
            time.sleep(3)
        for start in range(0, len(data), 4096):
            self.wfile.write(data[start : start + 4096])
            time.sleep(0.001 if way == "slow" else 0)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def network():
    return init_network("vgg19")


@pytest.fixture(scope="module")
def official(network, tmp_path_factory):
    """An official file: the first layers of a VGG19 with random parameters."""
    path = tmp_path_factory.mktemp("official") / NAME
    parameters = {k: v for k, v in helpers.flat(network.params).items() if k < "conv2_2"}
    np.savez(path, **{key: np.asarray(value) for key, value in parameters.items()})
    return path


@pytest.fixture
def server(official, tmp_path, monkeypatch):
    """A server, its address in the table, and an empty data folder; the address is returned."""
    Handler.data, Handler.asked = official.read_bytes(), []
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{found.server_port}"
    known = KnownFile(
        name=NAME,
        network="vgg19",
        format="npz",
        origin="a test",
        license="none",
        preprocessing="torchvision",
        url=f"{address}/whole/{NAME}",
        sha256_prefix=hashlib.sha256(official.read_bytes()).hexdigest()[:8],
    )
    for module in (registry, fetching, commands):
        monkeypatch.setattr(module, "known_files", lambda: (known,))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_, **__: str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("JAXNST_WEIGHTS_URL", raising=False)
    yield address
    found.shutdown()
    thread.join()
    found.server_close()


def left(folder):
    """Every file that is there."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_fetched_network_loads_by_its_name(server, network, tmp_path):
    progress = []
    path = fetch("vgg19", on_progress=lambda *counts: progress.append(counts))
    assert path == fetched_path("vgg19") and left(tmp_path / "data") == ["vgg19.safetensors"]
    assert progress[-1] == (len(Handler.data), len(Handler.data))
    assert all(0 < done <= total for done, total in progress)
    found = load_network("vgg19")
    assert found.layers[-1] == "relu2_1"
    metadata = read_parameters(path)[1]
    assert metadata["preprocessing"] == "torchvision" and metadata["origin"] == "a test"
    expected = load_network("vgg19", weights=path, preprocessing="torchvision")
    assert found == expected
    image = jnp.full((8, 8, 3), 0.3)
    one, other = (extract_features(n, image, ["relu2_1"])["relu2_1"] for n in (found, expected))
    np.testing.assert_array_equal(one, other)


def test_what_is_there_is_not_fetched_again(server):
    fetch("vgg19")
    fetch("vgg19")
    assert len(Handler.asked) == 1


def test_a_slow_server_is_waited_for(server, monkeypatch):
    monkeypatch.setenv("JAXNST_WEIGHTS_URL", f"{server}/slow/")
    assert fetch("vgg19").is_file()


@pytest.mark.parametrize(
    ("way", "pattern"),
    [
        ("missing", "cannot be downloaded .status 404 Not Found"),
        ("html", "gave a web page instead of"),
        ("empty", "instead of|cannot be downloaded"),
        ("wrong", "bytes of something else instead of"),
        ("cut", "cannot be downloaded|something else"),
    ],
)
def test_a_bad_download_leaves_nothing(server, tmp_path, monkeypatch, way, pattern):
    monkeypatch.setenv("JAXNST_WEIGHTS_URL", f"{server}/{way}")
    with pytest.raises((OSError, ValueError), match=pattern) as raised:
        fetch("vgg19")
    assert "\n" not in str(raised.value) and "JAXNST_WEIGHTS_URL" in str(raised.value)
    assert left(tmp_path / "data") == []
    monkeypatch.delenv("JAXNST_WEIGHTS_URL")
    assert fetch("vgg19").is_file()  # and the next try starts again


def test_a_silent_server_is_given_up(server, monkeypatch, tmp_path):
    monkeypatch.setattr(fetching, "SECONDS", 0.5)
    monkeypatch.setenv("JAXNST_WEIGHTS_URL", f"{server}/silent")
    with pytest.raises(OSError, match=r"cannot be downloaded \(timed out\)"):
        fetch("vgg19")
    assert left(tmp_path / "data") == []


def test_nobody_at_the_address(server, monkeypatch):
    monkeypatch.setenv("JAXNST_WEIGHTS_URL", "http://127.0.0.1:9")
    with pytest.raises(OSError, match=r"cannot be downloaded \(Connection refused\)"):
        fetch("vgg19")


def test_mirrors_are_tried_in_turn(server, monkeypatch):
    monkeypatch.setenv("JAXNST_WEIGHTS_URL", f"{server}/missing {server}/cut {server}/whole/")
    assert fetch("vgg19").is_file()
    assert [path.split("/")[1] for path in Handler.asked] == ["missing", "cut", "whole"]


def test_two_fetches_at_once_do_not_meet(server, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNST_WEIGHTS_URL", f"{server}/slow")
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch("vgg19"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [fetched_path("vgg19")] * 3
    assert left(tmp_path / "data") == ["vgg19.safetensors"]
    load_network("vgg19")


def test_stopping_leaves_nothing(server, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("vgg19", on_progress=stop)
    assert left(tmp_path / "data") == []


def test_a_folder_that_cannot_be_made_is_named(server, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_, **__: str(tmp_path / "file"))
    with pytest.raises(OSError, match="file"):
        fetch("vgg19")


def test_an_unknown_network_is_refused_with_what_there_is(server):
    with pytest.raises(KeyError, match="no file of 'vgg20' to download, expected one of vgg19"):
        fetch("vgg20")


# The commands.


def test_fetch_list_verify_and_show(server, capsys):
    assert main(["weights", "list"]) == 0
    assert "jaxnst weights fetch vgg19" in capsys.readouterr().out
    assert main(["weights", "fetch", "vgg19"]) == 0
    out = capsys.readouterr()
    assert out.out.strip().endswith("vgg19.safetensors") and NAME in out.err
    assert main(["weights", "list"]) == 0
    assert "downloaded" in capsys.readouterr().out
    assert main(["weights", "verify"]) == 0
    assert "vgg19: complete and readable" in capsys.readouterr().out
    assert main(["weights", "show", str(fetched_path("vgg19"))]) == 0
    shown = capsys.readouterr().out
    assert "preprocessing  torchvision" in shown
    assert "conv1_1/kernel" in shown and "3 x 3 x 3 x 64" in shown


def test_show_prints_nothing_that_could_steer_a_terminal(tmp_path, capsys):
    path = tmp_path / "odd.safetensors"
    values = {"a\x1b[31m/kernel": np.zeros(3, np.float32)}
    facts = {"name": "\x1b]0;owned\x07\nname: other", "\x1b[31m\nname: x": "y"}
    write_parameters(path, values, metadata=facts)
    assert main(["weights", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "owned" in shown and all(c.isprintable() for c in shown.replace("\n", ""))
    assert not any(line.startswith("name: ") for line in shown.splitlines())


def test_convert_writes_what_loads_the_same(server, official, tmp_path, capsys):
    out = tmp_path / "own.safetensors"
    assert main(["weights", "convert", str(official), "-o", str(out), "--network", "vgg19"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    one, other = (load_network("vgg19", weights=path) for path in (official, out))
    assert one == other
    for layer, parts in one.params.items():
        for part, value in parts.items():
            np.testing.assert_array_equal(value, other.params[layer][part])
    half = tmp_path / "half.safetensors"
    more = ["--dtype", "float16", "--preprocessing", "caffe"]
    assert main(["weights", "convert", str(official), "-o", str(half), *more]) == 0
    assert half.stat().st_size < 0.51 * out.stat().st_size
    assert read_parameters(half)[1]["preprocessing"] == "caffe"


def test_convert_asks_for_what_a_state_dict_does_not_tell(server, official, tmp_path, capsys):
    with np.load(official) as arrays:
        kernel, bias = arrays["conv1_1/kernel"], arrays["conv1_1/bias"]
    tensors = {"features.0.weight": kernel.transpose(3, 2, 0, 1).copy(), "features.0.bias": bias}
    source, out = tmp_path / "torch.safetensors", tmp_path / "own.safetensors"
    save_file(tensors, source)
    convert = ["weights", "convert", str(source), "-o", str(out)]
    assert main(convert) == 2 and "add --preprocessing" in capsys.readouterr().err
    assert not out.exists()
    assert main([*convert, "--preprocessing", "caffe"]) == 0
    assert load_network("vgg19", weights=out).preprocessing == PREPROCESSING["caffe"]


@pytest.mark.weights
def test_a_known_file_of_no_network_of_ours_converts(shared, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    source = shared / "weights/vgg-normalised/vgg_normalised_conv1_1.pth"
    out = tmp_path / "own.safetensors"
    assert main(["weights", "convert", str(source), "-o", str(out)]) == 0
    assert load_network("vgg19", weights=out).preprocessing == PREPROCESSING["caffe"]


@pytest.mark.parametrize(
    ("arguments", "status", "pattern"),
    [
        (["fetch", "vgg20"], 2, "no file of 'vgg20'"),
        (["fetch"], 2, "NETWORK"),
        (["frobnicate"], 2, "frobnicate"),
        (["show", "nothing.pth"], 1, "nothing.pth does not exist"),
        (["convert", "nothing.pth", "-o", "x.safetensors"], 1, "nothing.pth does not exist"),
        (["convert", "nothing.pth"], 2, "-o"),
        (["convert", "x.pth", "-o", "x.safetensors", "--network", "vgg20"], 2, "unknown network"),
        (["verify", "README.md"], 1, "is not one of the known files"),
    ],
)
def test_wrong_uses_are_one_line(server, capsys, monkeypatch, arguments, status, pattern):
    monkeypatch.chdir(Path(__file__).parents[1])
    try:
        found = main(["weights", *arguments])
    except SystemExit as error:
        found = error.code
    lines = capsys.readouterr().err.splitlines()
    assert found == status and len(lines) == 1 and pattern in lines[0]


def test_a_run_says_how_to_get_what_it_needs(server, capsys, tmp_path):
    pictures = ["examples/content.jpg", "examples/strokes.jpg"]
    root = Path(__file__).parents[1]
    run = ["run", *(str(root / p) for p in pictures), "-o", str(tmp_path / "o.png")]
    assert main([*run, "--network", "vgg19", "--size", "32", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "add --yes to download" in error and NAME in error and "--weights FILE" in error
    assert left(tmp_path / "data") == []
    assert main([*run, "--network", "vgg19", "--size", "32", "--quiet", "--yes"]) == 2
    assert "unknown layer 'relu4_2' of vgg19" in capsys.readouterr().err  # fetched: it ends early
    assert left(tmp_path / "data") == ["vgg19.safetensors"]
    reconstruct = ["reconstruct", "content", run[1], "-o", run[-1], "--layers", "relu_conv1"]
    assert main([*reconstruct, "--network", "squeezenet1.1", "--yes"]) == 2
    assert "no official file" in capsys.readouterr().err


def test_a_file_for_pytorch_is_not_fetched_where_nothing_reads_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("jaxnst.weights.fetch.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"vgg19-dcbb9e9d.pth can only be read with PyTorch"):
        fetch("vgg19-torchvision")
    assert left(tmp_path) == []
