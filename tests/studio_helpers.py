"""A studio that is served in this process, and requests to it that can be anything."""

import contextlib
import http.client
import json
import socket
import threading
import time

from jaxnst.studio.server import make_app, make_server
from jaxnst.studio.session import Session

SETTINGS = {
    "size": 64,
    "style_layers": (("relu1_1", 1.0),),
    "content_layers": (("relu2_1", 1.0),),
    "scales": (32, 64),
    "steps": 12,
}
"""Of a painting that is compiled and painted in moments."""

TOKEN = "a-token"


class Client:
    """Requests to a studio on a port of this machine."""

    def __init__(self, port, token=TOKEN):
        self.port, self.origin = port, f"http://127.0.0.1:{port}"
        self.cookie = f"jaxnst-studio-{port}={token}"

    def ask(self, path, *, method="GET", body=None, **headers):
        """Send a request as the page does, or with other headers; None leaves one out.

        Returns:
          Status, headers and body of the answer.
        """
        usual = {"cookie": self.cookie}
        if method == "POST":
            usual |= {"origin": self.origin, "content-type": "application/json"}
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, 20)) as to:
            to.putrequest(method, path, skip_host="host" in named)
            for key, value in (usual | named).items():
                if value is not None:
                    to.putheader(key, value)
            if isinstance(body, bytes):
                to.putheader("content-length", str(len(body)))
            to.endheaders(body)
            answer = to.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def act(self, action, **facts):
        """Send an action and return the status and text of the answer."""
        body = json.dumps({"action": action, **facts}).encode()
        status, _, text = self.ask("/act", method="POST", body=body)
        return status, text.decode()

    def upload(self, data, role, name="a.png"):
        """Send a picture and return the status and text of the answer."""
        path, kind = f"/pictures?role={role}&name={name}", "application/octet-stream"
        status, _, text = self.ask(path, method="POST", body=data, content_type=kind)
        return status, text.decode()


class Studio(Client):
    """A session and its server, on a free port."""

    def __init__(self, folder, settings=None):
        self.session = Session(folder, settings=SETTINGS if settings is None else settings)
        self.listener = socket.create_server(("127.0.0.1", 0))
        super().__init__(self.listener.getsockname()[1])
        app = make_app(self.session, token=TOKEN, host="127.0.0.1", port=self.port)
        self.server = make_server(app)
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))
        self.thread.start()

    def close(self):
        """Stop the server; the session stays, for another one."""
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()

    def wait(self, condition, seconds=60):
        """Wait until a condition holds of what a page shows, and return that."""
        end = time.monotonic() + seconds
        while True:
            view = self.session.view()
            assert view["status"] != "failed" or "failed" in str(condition), view["error"]
            if condition(view):
                return view
            assert time.monotonic() < end, view
            time.sleep(0.02)


@contextlib.contextmanager
def serving(folder, **more):
    """Serve a studio while the body runs."""
    studio = Studio(folder, **more)
    try:
        yield studio
    finally:
        studio.session.close()
        studio.close()


def events(studio, count):
    """Return the first events that a page is sent."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", studio.port, 60)) as to:
        to.request("GET", "/events", headers={"cookie": studio.cookie})
        answer, views = to.getresponse(), []
        while len(views) < count:
            line = answer.readline()
            assert line, f"the stream ended: status {answer.status}"
            if line.startswith(b"data: "):
                views.append(json.loads(line[6:]))
    return views
