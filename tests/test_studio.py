"""The studio over HTTP: what it paints and keeps, and what it refuses."""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import zlib

import helpers
import numpy as np
import pytest
import studio_helpers
from PIL import Image
from starlette.datastructures import Headers
from starlette.responses import Response
from studio_helpers import SETTINGS, TOKEN, serving

import jaxnst
from jaxnst.image import load_image, read_record
from jaxnst.image.exchange import png_bytes
from jaxnst.recipes import get_recipe
from jaxnst.recipes.schema import override
from jaxnst.studio import controls, server

PHOTO, PAINTING, OTHER = (png_bytes(helpers.picture(48, 64, seed=seed)) for seed in (1, 2, 3))
MASK = png_bytes(np.repeat(np.arange(64)[None, :, None] < 32, 48, 0) * np.ones(3, np.float32))
BINARY = "application/octet-stream"


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A studio in which nothing is painted."""
    with serving(tmp_path_factory.mktemp("studio") / "out") as studio:
        yield studio


@pytest.fixture
def painting(tmp_path):
    """A studio that has painted a picture."""
    with serving(tmp_path / "out") as studio:
        assert studio.upload(PHOTO, "content", "photo.png")[0] == 200
        assert studio.upload(PAINTING, "style", "painting.png")[0] == 200
        studio.wait(finished)
        yield studio


def finished(view):
    return view["status"] == "finished" and not view["pending"]


def kept(view):
    return bool(view["versions"]) and not view["jobs"]


def pixels(path):
    return np.asarray(Image.open(path))


# Painting.


def test_two_pictures_are_painted_as_the_library_paints_them_and_a_version_says_how(painting):
    status, headers, frame = painting.ask("/frame")
    assert (status, headers["content-type"], frame[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert painting.act("keep") == (204, "")
    path = painting.session.versions.folder / "version-001.png"
    record = read_record(path)
    assert [(s.role, s.name) for s in record.sources] == [
        ("content", "photo.png"),
        ("style", "painting.png"),
    ]
    pictures = [load_image(painting.session.versions.picture(s.sha256)) for s in record.sources]
    own = {key: value for key, value in SETTINGS.items() if key != "size"}
    recipe = override(get_recipe("default"), own)
    assert record.recipe == recipe
    result = jaxnst.stylize(pictures[0], pictures[1], recipe=recipe, size=64)
    np.testing.assert_array_equal(pixels(path), np.rint(result.image * 255))


def test_a_setting_turns_the_picture_and_is_undone(painting):
    before = painting.ask("/frame")[2]
    assert painting.act("set", values={"style_weight": 60.0, "colors": "linear"}) == (204, "")
    view = painting.wait(finished)
    assert (view["values"]["style_weight"], view["values"]["colors"]) == (60.0, "linear")
    assert painting.ask("/frame")[2] != before
    assert painting.act("undo") == (204, "")
    view = painting.wait(finished)
    assert (view["values"]["style_weight"], view["values"]["colors"]) == (5.0, "style")


def test_a_mask_and_a_second_painting_are_taken(painting):
    assert painting.upload(MASK, "mask", "mask.png")[0] == 200
    assert painting.upload(OTHER, "style", "other.png")[0] == 200
    view = painting.wait(finished)
    assert view["mask"]["width"] == 64 and [s["name"] for s in view["styles"]][1] == "other.png"
    assert painting.act("set", values={"style_mix": [1, 3]})[0] == 204
    painting.wait(finished)
    assert painting.act("keep")[0] == 204
    assert painting.act("remove_style", at=0)[0] == 204
    assert painting.wait(finished)["styles"][0]["name"] == "other.png"
    assert painting.act("clear_mask")[0] == 204
    assert painting.wait(finished)["mask"] is None
    assert painting.act("back_to", version=1)[0] == 204
    view = painting.wait(finished)
    assert view["values"]["style_mix"] == [1, 3] and view["mask"]["name"] == "mask.png"


def test_versions_are_painted_larger_and_in_variations_and_are_there_after_a_restart(painting):
    assert painting.act("keep")[0] == 204
    assert painting.act("larger", version=1, size=96)[0] == 204
    assert painting.act("sweep", across="style_weight", down="tv_weight")[0] == 204
    view = painting.wait(lambda view: len(view["versions"]) == 3 and not view["jobs"])
    assert [v["kind"] for v in view["versions"]] == ["picture", "picture", "sweep"]
    assert view["versions"][1]["width"] == 96 and view["status"] == "finished"
    folder = painting.session.versions.folder
    with serving(folder) as again:
        view = again.session.view()
        assert [v["number"] for v in view["versions"]] == [1, 2, 3] and view["status"] == "empty"
        status, headers, data = again.ask("/versions/2")
        assert (status, headers["content-type"]) == (200, "image/png")
        assert data == (folder / "version-002.png").read_bytes()
        assert again.ask("/versions/3/small")[2][:2] == b"\xff\xd8"
        assert again.act("back_to", version=2)[0] == 204
        assert again.wait(finished)["values"]["size"] == 96
        assert again.act("back_to", version=3) == (400, "version 3 does not say how it was made")
        sheet = (folder / "version-003.png").read_bytes()
        assert again.act("remove", version=3)[0] == 204
        assert (folder / "deleted" / "version-003.png").read_bytes() == sheet
        assert again.act("remove", version=3) == (404, "there is no version 3")
        assert again.ask("/versions/3/small")[0] == 404
        assert again.act("keep")[0] == 204  # under a number that no version had before
        assert [v["number"] for v in again.session.view()["versions"]] == [1, 2, 4]


def test_a_pause_holds_the_picture_and_a_layer_that_is_not_there_is_refused(painting):
    assert painting.act("set", values={"steps": 4000})[0] == 204
    assert painting.act("pause")[0] == 204
    done = painting.wait(lambda view: view["status"] == "paused")["progress"]["done"]
    assert painting.session.view()["progress"]["done"] == done
    assert painting.act("resume")[0] == 204
    painting.wait(lambda view: view["progress"]["done"] > done)
    before = painting.session.view()["values"]
    status, text = painting.act("set", values={"style_layers": "relu9_9"})
    assert status in (400, 404) and "relu9_9" in text and "\n" not in text
    assert painting.session.view()["values"] == before
    assert painting.act("set", values={"style_layers": "relu1_1", "steps": 8})[0] == 204
    assert painting.act("restart")[0] == 204
    painting.wait(finished)


def test_a_page_is_sent_what_changes(painting):
    (first,) = studio_helpers.events(painting, 1)
    assert first["content"]["name"] == "photo.png" and first["status"] == "finished"
    terms = first["losses"][-1][1]
    assert terms["total"] == pytest.approx(
        terms["style"] + terms["content"] + terms["tv"], rel=1e-2
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"style_weight": "much"}, "style weight is 'much', expected a number"),
        ({"style_weight": -1}, "style weight is -1"),
        ({"no_such": 1}, "there is no setting 'no_such'"),
        ({"size": 5000}, "size is 5000, expected a whole number from 16 to 4096"),
        ({"size": 64.5}, "size is 64.5"),
        ({"init": "/etc/passwd"}, "init is '/etc/passwd', expected one of"),
        ({"recipe": "../recipe.toml"}, "unknown recipe"),
        ({"network": "/tmp/network.safetensors"}, "network is '/tmp/network.safetensors'"),
        ({"style_mix": [1, 2]}, "style mix is [1, 2], expected"),
        ({"style_layers": "relu1_1:x"}, "could not convert"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_one_line(studio, values, words):
    before = studio.session.view()["values"]
    status, text = studio.act("set", values=values)
    assert status in (400, 404) and words in text and "\n" not in text
    assert studio.session.view()["values"] == before


def test_the_controls_are_the_options_of_the_recipe():
    rows = {row["name"]: row for row in controls.describe({})}
    assert [name for name, row in rows.items() if row["first"]] == [*controls.FIRST, "size"]
    weight = rows["style_weight"]
    assert (weight["value"], weight["least"], weight["greatest"]) == (5.0, 0.25, 100.0)
    assert weight["log"] and weight["label"] == "Style" and "more style" in weight["help"]
    assert "linear" in rows["colors"]["choices"] and rows["steps"]["kind"] == "number"
    assert rows["style_layers"]["value"].startswith("relu1_1:0.2,relu2_1:0.2")
    assert "covariance" in rows["style_statistic"]["choices"]
    assert rows["recipe"]["choices"]["gatys2016"] and rows["recipe"]["restarts"]
    other = {row["name"]: row for row in controls.describe({"recipe": "gatys2016"})}
    assert other["style_weight"]["value"] != 5.0 and other["init"]["value"] == "noise"


# Pictures that are none.


def bomb(side):
    """A small PNG file that claims to be a square of so many pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 10**6)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no picture", "is not a JPEG, PNG"),
        (b"", "is empty"),
        (PHOTO[:200], "is cut short or damaged"),
        (png_bytes(np.zeros((1, 1, 3), np.float32)), "is 1x1 pixels, expected at least 16"),
        (bomb(100_000), "million pixels"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line_that_names_it(studio, data, words):
    memory = peak()
    status, text = studio.upload(data, "content", "..%2Fholiday.png")
    assert status == 400 and words in text and text.startswith("holiday.png")
    assert "\n" not in text and "/tmp" not in text
    assert studio.session.view()["content"] is None and peak() - memory < 30e6
    assert os.listdir(studio.session._uploads.name) == []


def test_a_bomb_below_the_limit_is_refused_by_its_memory(studio, monkeypatch):
    monkeypatch.setattr("jaxnst.studio.session.available_on_host", lambda: 10**9)
    status, text = studio.upload(bomb(10_000), "content", "a.png")
    assert status == 400 and text.startswith("a.png takes 3.2 GB of memory")


def test_an_upload_that_is_too_long_is_refused_before_it_is_read(studio, monkeypatch):
    headers = {"content_type": BINARY, "content_length": str(10**9)}
    status, _, text = studio.ask("/pictures?role=content", method="POST", **headers)
    assert status == 413 and b"longer than 100 MB" in text
    status, _, _ = studio.ask("/act", method="POST", body=b"x" * 100_000)
    assert status == 413
    # One that does not say how long it is ends where it is too long.
    monkeypatch.setitem(server.MOST_BYTES, BINARY, 10**6)
    memory, piece = peak(), b"10000\r\n" + bytes(2**16) + b"\r\n"
    with socket.create_connection(("127.0.0.1", studio.port)) as to:
        head = (
            "POST /pictures?role=content HTTP/1.1\r\n"
            f"host: 127.0.0.1:{studio.port}\r\norigin: {studio.origin}\r\n"
            f"cookie: jaxnst-studio-{studio.port}={TOKEN}\r\n"
            f"content-type: {BINARY}\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        to.sendall(head.encode())
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 2**30 and not select.select([to], [], [], 0)[0]:
                to.sendall(piece)
                sent += len(piece)
        assert b" 413 " in to.recv(100) and sent < 10**8
    assert peak() - memory < 30e6 and os.listdir(studio.session._uploads.name) == []


def peak():
    """The most memory that this process has had, bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# Requests of others.


def test_only_an_address_with_the_token_opens_the_page(studio):
    status, headers, text = studio.ask("/", cookie=None)
    assert status == 403 and b"printed in the terminal" in text and "set-cookie" not in headers
    assert studio.ask("/?token=wrong", cookie=None)[0] == 403
    status, headers, _ = studio.ask(f"/?token={TOKEN}", cookie=None)
    assert status == 200
    cookie = headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    status, headers, text = studio.ask("/")
    assert status == 200 and b"<title>jaxnst studio</title>" in text
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/", "/app.js", "/events", "/controls", "/frame", "/versions/1", "/pictures/content/0"],
)
@pytest.mark.parametrize(
    "headers",
    [
        {"cookie": None},
        {"cookie": "jaxnst-studio-1=a-token"},
        {"host": "evil.example"},
        {"host": "127.0.0.1:1"},
        {"host": "127.0.0.1.evil.example:{port}"},
        {"host": "192.168.0.1:{port}"},
        {"host": "["},
        {"origin": "http://evil.example"},
        {"origin": "null"},
    ],
    ids=str,
)
def test_what_is_not_from_the_page_reads_nothing(studio, path, headers):
    headers = {key: value and value.format(port=studio.port) for key, value in headers.items()}
    status, answer, text = studio.ask(path, **headers)
    assert status == 403 and len(text) < 100 and "set-cookie" not in answer


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"origin": None}),
        (403, {"origin": "http://evil.example"}),
        (403, {"origin": "https://127.0.0.1:{port}"}),
        (403, {"cookie": None}),
        (415, {"content_type": "text/plain"}),
        (415, {"content_type": "application/x-www-form-urlencoded"}),
        (415, {"content_type": "multipart/form-data"}),
        (415, {"content_type": None}),
    ],
)
@pytest.mark.parametrize("path", ["/act", "/pictures?role=content&name=a.png"])
def test_what_is_not_from_the_page_changes_nothing(studio, path, status, headers):
    headers = {key: value and value.format(port=studio.port) for key, value in headers.items()}
    body = json.dumps({"action": "set", "values": {"style_weight": 9}}).encode()
    kind = {"content_type": "application/json" if path == "/act" else BINARY}
    assert studio.ask(path, method="POST", body=body, **(kind | headers))[0] == status
    assert studio.session.view()["values"]["style_weight"] == 5.0


@pytest.mark.parametrize(
    "body",
    [
        b'{"action": "set", "values": 1}',
        b"",
        b"[]",
        b"{",
        b"null",
        b'{"action": "__class__"}',
        b"[" * 60_000,
    ],
)
def test_what_is_no_action_is_refused(studio, body):
    status, _, text = studio.ask("/act", method="POST", body=body)
    assert status == 400 and b"\n" not in text


def test_a_websocket_is_refused(studio):
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec_websocket_version": "13"}
    upgrade["sec_websocket_key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    status, _, _ = studio.ask("/events", origin="http://evil.example", **upgrade)
    assert status == 403
    assert studio.ask("/act", **upgrade)[0] == 405


@pytest.mark.parametrize(
    "path",
    [
        *("/versions/../version-001.png", "/versions/..%2f..%2fetc%2fpasswd", "/versions/-1"),
        *("/versions/1%00", "/versions/99", "/versions/", "/pictures/../0", "/pictures/style/9"),
        *("/..%2fserver.py", "/page/app.js", "/%2e%2e/session.py", "//etc/passwd", "/static"),
        *("/pictures/content/..%2f..", "/pictures/mask/0", "/frame/../../x", "/versions/1e3"),
    ],
)
def test_no_path_is_taken_from_a_request(studio, path):
    status, _, text = studio.ask(path)
    assert status == 404 and len(text) < 100


def test_a_thousand_connections_are_refused_and_the_page_works_after_them(studio):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count, memory = 1000, peak()
    if 0 <= hard < 2 * count + 200:
        pytest.skip(f"this process may have {hard} files open, expected {2 * count + 200}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * count + 200), hard))
    try:
        with contextlib.ExitStack() as stack:
            address = "127.0.0.1", studio.port
            several = [stack.enter_context(socket.create_connection(address)) for _ in range(count)]
            for one in several:
                one.sendall(
                    f"GET /events HTTP/1.1\r\nhost: 127.0.0.1:{studio.port}\r\n\r\n".encode()
                )
            statuses = {one.recv(100).split(b" ")[1] for one in several}
        assert statuses <= {b"403", b"503"} and peak() - memory < 60e6
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    studio.wait(lambda view: studio.ask("/controls")[0] == 200)


def test_other_hosts_are_known_only_where_the_studio_is_open_to_them():
    def refusal(host, name):
        guard = server.Guard(Response(), token=TOKEN, host=host, port=80)
        return guard.refusal("GET", Headers({"host": name}))

    for name in ("127.0.0.1", "localhost:80", "[::1]"):
        assert refusal("127.0.0.1", name) is None
    assert refusal("0.0.0.0", "192.168.0.7") is None
    assert refusal("studio.example", "studio.example:80") is None
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "::"):
        assert refusal(host, "evil.example") is not None
    assert refusal("127.0.0.1", "192.168.0.7") is not None


# The command.


@pytest.mark.slow
def test_ctrl_c_saves_what_there_is(tmp_path):
    for name, data in (("photo.png", PHOTO), ("painting.png", PAINTING)):
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-m", "jaxnst", "studio", "photo.png", "painting.png"]
    command += ["--no-browser", "--size", "64", "--out", "kept"]
    environment = {**os.environ, "PYTHONPATH": str(server.files("jaxnst").parent)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with process:
        try:
            address = process.stdout.readline()
            assert address.startswith("http://127.0.0.1:") and "/?token=" in address
            port = int(address.split(":")[2].split("/")[0])
            client = studio_helpers.Client(port, address.strip().partition("token=")[2])
            while not (studio_helpers.events(client, 1)[0]["progress"] or {}).get("done"):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
        finally:
            process.kill()
    assert "stopped, saved kept/version-001.png" in err
    assert read_record(tmp_path / "kept/version-001.png").size == 64


def test_the_command_refuses_what_it_cannot_do(call, tmp_path, monkeypatch):
    status, _, err = call("studio", "--host", "203.0.113.9", "--no-browser")
    assert status == 2 and "--host 203.0.113.9" in err and err.count("\n") == 1
    monkeypatch.setattr("jaxnst.cli.studio.find_spec", lambda name: None)
    status, _, err = call("studio")
    assert status == 2 and "pip install 'jaxnst[studio]'" in err
