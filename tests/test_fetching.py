"""Inputs from addresses and from standard input, against a server of this machine."""

import contextlib
import gzip
import http.server
import io
import socket
import sys
import threading
import time
import traceback

import helpers
import numpy as np
import pytest

from jaxnst import cli
from jaxnst.cli import fetching, inputs
from jaxnst.cli.errors import UsageError
from jaxnst.cli.fetching import fetch
from jaxnst.cli.messages import Messages
from jaxnst.cli.parser import parse
from jaxnst.image import save_image


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers well and badly, by path."""

    picture = b""
    asked: list[str]
    closing = threading.Event()
    passwords: list[str | None] = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append(self.path)
        self.passwords.append(self.headers["Authorization"])
        name, _, rest = self.path[1:].partition("?")[0].partition("/")
        with contextlib.suppress(OSError):  # the other side has gone
            getattr(self, "get_" + name)(rest)

    def log_message(self, *_):
        pass

    def answer(self, status, data=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)

    def get_picture(self, _):
        self.answer(200, self.picture)

    def get_unmeasured(self, _):
        self.answer(200, self.picture, **{"Content-Length": None})

    def get_chunked(self, _):
        half = len(self.picture) // 2
        pieces = self.picture[:half], self.picture[half:], b""
        data = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
        self.protocol_version = "HTTP/1.1"
        self.answer(200, data, **{"Content-Length": None}, **CHUNKED)

    def get_hops(self, count):
        where = f"/hops/{int(count) - 1}" if int(count) else "/picture"
        self.answer(302, Location=where)

    def get_to(self, where):
        self.answer(301, Location=where)

    def get_beside(self, _):
        self.answer(302, Location="http://[bad")

    def get_undecodable(self, _):
        self.answer(302, Location=b"http://127.0.0.1/\xff".decode("latin-1"))

    def get_nowhere(self, _):
        self.answer(302)

    def get_status(self, status):
        self.answer(int(status), b"sorry")

    def get_words(self, _):
        self.answer(200, b"This is no picture.")

    def get_empty(self, _):
        self.answer(200)

    def get_packed(self, _):
        self.answer(200, gzip.compress(self.picture), Content_Encoding="gzip")

    def get_promised(self, _):
        self.answer(200, self.picture, **{"Content-Length": 10**12})

    def get_short(self, _):
        self.answer(200, self.picture, **{"Content-Length": len(self.picture) + 7})

    def get_more(self, _):
        self.answer(200, self.picture + b"more", **{"Content-Length": len(self.picture)})

    def get_endless(self, _):
        self.answer(200, **{"Content-Length": None})
        while True:
            self.wfile.write(bytes(10_000))

    def get_endless_redirect(self, _):
        self.answer(302, Location="/picture", **{"Content-Length": None})
        while True:
            self.wfile.write(bytes(10_000))

    def get_drip(self, _):
        self.answer(200, **{"Content-Length": 10**6})
        while not self.closing.wait(0.02):
            self.wfile.write(b"x")

    def get_silence(self, _):
        self.closing.wait(60)


CHUNKED = {"Transfer-Encoding": "chunked"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("server") / "picture.png"
    save_image(path, helpers.picture(40, 50))
    Handler.picture, Handler.asked = path.read_bytes(), []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    Handler.closing.set()
    server.shutdown()
    server.server_close()


# What is taken.


@pytest.mark.parametrize(
    "path",
    ["picture", "unmeasured", "chunked", "more", "hops/0", "hops/4", "picture?key=a b#c"],
)
def test_a_picture_comes_whole(server, path):
    assert fetch(f"{server}/{path}") == Handler.picture


def test_what_may_not_stand_in_a_request_is_escaped(server):
    fetch(f"{server}/words/ä b?q=ö d")
    assert Handler.asked[-1] == "/words/%C3%A4%20b?q=%C3%B6%20d"


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("hops/5", OSError, "Exceeded 5 redirects"),
        ("to/file:///etc/passwd", ValueError, "file:///etc/passwd is not of http or https"),
        ("to/ftp://example.org/a.png", ValueError, "ftp://example.org/a.png is not of http"),
        ("to/http://me:word@127.0.0.1/", ValueError, "comes with a user's name"),
        ("beside", OSError, "it redirects to no valid address"),
        ("nowhere", OSError, "status 302 Found"),
        ("status/404", OSError, "status 404 Not Found"),
        ("status/500?key=secret", OSError, r"status/500\?\.\.\. cannot be downloaded"),
        ("packed", OSError, r"the server compressed it \(gzip\), which is not accepted"),
        ("undecodable", OSError, "it redirects to no valid address"),
        ("short", OSError, "bytes read, 7 more expected"),
        ("promised", OSError, "more than the 20000 bytes"),
        ("endless", OSError, "more than the 20000 bytes"),
    ],
)
def test_what_is_refused(server, path, error, words):
    with pytest.raises(error, match=words) as raised:
        fetch(f"{server}/{path}", max_bytes=20_000, seconds=10)
    assert "secret" not in str(raised.value) and "word@" not in str(raised.value)


@pytest.mark.parametrize("path", ["drip", "silence"])
def test_time_is_bounded_whatever_comes(server, path):
    begin = time.perf_counter()
    with pytest.raises(TimeoutError, match=r"took more than 0\.3 s"):
        fetch(f"{server}/{path}", seconds=0.3)
    assert time.perf_counter() - begin < 30  # the server would go on for a minute or more


def test_the_body_of_a_redirect_is_not_read(server):
    assert fetch(f"{server}/endless_redirect", seconds=5) == Handler.picture


def test_nobody_there_and_unknown_hosts():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(OSError, match=r"cannot be downloaded \(Connection refused\)"):
            fetch(f"http://127.0.0.1:{port}/a.png")
    with pytest.raises(OSError, match=r"nowhere\.invalid/a\.png cannot be downloaded \(.*[Nn]ame"):
        fetch("http://nowhere.invalid/a.png")
    with pytest.raises(OSError, match="no valid address"):
        fetch(f"http://{'a' * 64}.org/a.png")


def test_passwords_of_netrc_are_not_sent(server, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    Handler.passwords.clear()
    for path in ("picture", "hops/2"):
        assert fetch(f"{server}/{path}") == Handler.picture
    assert Handler.passwords == [None] * 5


# As an input.


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("-", "standard input"),
        ("https://me:word@example.org:8/a.jpg?key=5#top", "https://example.org:8/a.jpg?..."),
        ("http://[bad/a.jpg?key=5", "the address"),
        ("http://me:wo/rd@example.org/a.jpg", "the address"),
        ("http://example.org/a\x1b[2Jb", r"'http://example.org/a\x1b[2Jb'"),
        ("a\nb.jpg", r"'a\nb.jpg'"),
    ],
)
def test_names_in_messages(source, name):
    assert fetching.shown(source) == name


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Load a content, or a style, as the command does; nothing is left behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def load(content, style=None):
        given = content, style or content, "-o", "out.png"
        try:
            return inputs.read_pictures(*parse(given, "jaxnst-run"))
        finally:
            assert not list(tmp_path.iterdir())

    return load


def test_a_picture_is_loaded_from_an_address_once_and_nothing_is_left(server, read, tmp_path):
    Handler.asked.clear()
    pictures = read(f"{server}/picture")
    picture, (source, *_) = pictures.content, pictures.sources
    assert (source.role, source.name) == ("content", "picture")
    np.testing.assert_allclose(picture, helpers.picture(40, 50), atol=0.5 / 255 + 1e-6)
    assert Handler.asked == ["/picture"]
    for path, words in (("words?key=5", r"/words\?\.\.\. is not a JPEG"), ("empty", "is empty")):
        with pytest.raises(ValueError, match=words) as raised:
            read(f"{server}/picture", f"{server}/{path}")
        assert str(tmp_path) not in str(raised.value) and "key" not in str(raised.value)


def piped(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_picture_is_loaded_from_standard_input(server, read, monkeypatch):
    piped(monkeypatch, Handler.picture)
    assert read("-", f"{server}/picture").content.shape == (40, 50, 3)
    piped(monkeypatch, b"words")
    with pytest.raises(ValueError, match="standard input is not a JPEG"):
        read("-")
    monkeypatch.setattr(fetching, "MAX_BYTES", 100)
    piped(monkeypatch, Handler.picture)
    with pytest.raises(ValueError, match="standard input has more than the 100 bytes"):
        read("-")


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (["-", "-"], "given only once"),
        (["ftp://example.org/a.png"], "not of http or https"),
        (["file:///etc/passwd"], "not of http or https"),
        (["http://me:word@example.org/a.png"], "comes with a user's name"),
        (["http:///a.png"], "names no host"),
        (["http://example.org:port/a.png"], "is no address"),
        (["http://me:word@[::1/a.png"], "is no address"),
        (["http://me:word@\u2100.org/a.png"], "is no address"),
    ],
)
def test_inputs_are_checked_before_any_is_read(monkeypatch, sources, words):
    piped(monkeypatch, b"")
    with pytest.raises(UsageError, match=words) as raised:
        fetching.check_sources(sources)
    assert "word@" not in "".join(traceback.format_exception(raised.value))  # as --debug shows it


def test_a_terminal_is_no_picture(monkeypatch):
    piped(monkeypatch, b"")
    fetching.check_sources(["-", "a.png"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="pipe one in"):
        fetching.check_sources(["-", "a.png"])


def test_a_run_takes_addresses(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = f"{server}/picture", f"{server}/hops/1?key=5", "-o", "out.png"
    assert cli.main_run([f"{server}/status/404", *given[1:], "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(
        f"jaxnst-run: error: {server}/status/404 cannot be download"
    )
    flags, recipe = parse(given, "jaxnst-run")
    inputs.check_flags(flags, recipe)
    pictures = inputs.read_pictures(flags, recipe)
    assert pictures.content.shape == pictures.styles[0].shape == (40, 50, 3)
    inputs.report_sizes(flags, recipe, pictures, Messages("jaxnst-run", quiet=False))
    assert f"{server}/hops/1?... is 50x40, smaller than 512 pixels" in capsys.readouterr().err
