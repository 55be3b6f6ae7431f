"""The studio over HTTP: a small ASGI application, and the checks that every request passes.

Server-sent events announce changes and hold no picture: the page then fetches the newest
frame, one at a time, so that nothing queues up for a slow browser. What the page wants is sent by
POST. Nothing of a request becomes part of a path.
"""

import asyncio
import contextlib
import ipaddress
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jaxnst._files import reason
from jaxnst.studio.controls import describe
from jaxnst.studio.session import Session

MOST_BYTES = {"application/json": 64 * 1024, "application/octet-stream": 100 * 2**20}
"""Longest body of a request by its type; no others are accepted. Neither can be sent by a form of
another site, nor by a script of one without asking first."""

EVENTS_SECONDS = 0.15
"""Least time between two events: changes in between are announced together."""

ALIVE_SECONDS = 15.0
"""After so long without a change, a comment is sent, which fails if the page was closed."""

CONNECTIONS = 64
"""Most at a time; further ones are answered by status 503."""

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


BAD_REQUESTS = ValueError, TypeError, AttributeError, OSError, RecursionError, ClientDisconnect
"""What requests that cannot be carried out raise."""


class Guard:
    """Lets only requests of the studio's own page through.

    * ``Host`` is a name of this server, so that no other name can be pointed at it (DNS rebinding).
    * ``Origin``, if there is one, and for POST there must be, is this server.
    * A cookie has the token. It is set, for this site alone, where the address has the token, which
      is then taken out of the address.
    * There are no WebSockets.
    """

    def __init__(self, app: ASGIApp, *, token: str, host: str, port: int) -> None:
        self.app, self.token, self.host, self.port = app, token, host, port
        self.cookie = f"jaxnst-studio-{port}"  # cookies do not distinguish between ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse to."""
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        request = Request(scope)
        refusal = self.refusal(request.method, request.headers)
        token = request.query_params.get("token", "")
        if refusal is None and request.url.path == "/" and self._is_token(token):
            # Not a redirect: after a link from elsewhere, the cookie would not be sent with that.
            answer: ASGIApp
            answer = opened = HTMLResponse(
                '<!doctype html><meta http-equiv="refresh" content="0;/">'
            )
            opened.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
        elif refusal is None and not self._is_token(request.cookies.get(self.cookie, "")):
            text = "Open the address that jaxnst studio printed in the terminal: it has the token."
            answer = PlainTextResponse(text, 403)
        else:
            answer = self.app if refusal is None else PlainTextResponse(refusal, 403)
        await answer(scope, receive, with_headers)

    def refusal(self, method: str, headers: Headers) -> str | None:
        """Return why a request is refused by its method and headers, or None."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_own(f"//{host}"):
            return "This name is not one of the studio's."
        if origin != f"http://{host}" and not (origin is None and method in ("GET", "HEAD")):
            return "Only the studio's own page may ask for this."
        return None

    def _is_own(self, address: str) -> bool:
        try:
            parts = urlsplit(address)
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        names = {"localhost", self.host, *([socket.gethostname()] if not self._local else [])}
        return port == self.port and (name in names or self._is_address(name))

    @property
    def _local(self) -> bool:
        return self.host == "localhost" or (_address(self.host) or _ANY).is_loopback

    def _is_address(self, name: str) -> bool:
        """Return whether a name is a number, which cannot be pointed anywhere else."""
        address = _address(name)
        return address is not None and (address.is_loopback or not self._local)

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())


_ANY = ipaddress.ip_address("0.0.0.0")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


class Changes:
    """Wakes the streams of events after a change of the session, from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()
        self.serial = 0

    def __call__(self) -> None:
        """Report a change; does not block."""
        self.serial += 1
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def stream(self, view: Callable[[], Mapping[str, Any]]) -> AsyncIterator[str]:
        """Yield server-sent events: what ``view`` returns now, and after every change."""
        self._loop = asyncio.get_running_loop()
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            while True:
                event.clear()
                facts = {**await run_in_threadpool(view), "serial": self.serial}
                yield f"data: {json.dumps(facts, separators=(',', ':'))}\n\n"
                await asyncio.sleep(EVENTS_SECONDS)
                while not event.is_set():
                    try:
                        await asyncio.wait_for(event.wait(), ALIVE_SECONDS)
                    except TimeoutError:
                        yield ":\n\n"
        finally:
            self._waiting.discard(event)


def make_app(session: Session, *, token: str, host: str, port: int) -> ASGIApp:
    """Return the application of a session, whose ``changed`` it sets.

    The first address has the token; the server listens on the host, by name or address, and port.
    """
    changes = Changes()
    session.changed = changes
    page = {
        f"/{file.name}": (file.read_bytes(), TYPES[os.path.splitext(file.name)[1]])
        for file in files("jaxnst.studio").joinpath("page").iterdir()
    }
    page["/"] = page["/index.html"]

    async def static(request: Request) -> Response:
        data, kind = page[request.url.path]
        return Response(data, media_type=kind)

    async def events(request: Request) -> Response:
        return StreamingResponse(changes.stream(session.view), media_type="text/event-stream")

    def controls(request: Request) -> Response:
        settings = {key: session.view()["values"][key] for key in ("recipe", "network")}
        return JSONResponse(describe(settings))

    def frame(request: Request) -> Response:
        return Response(session.frame(), media_type="image/jpeg")

    def picture(request: Request) -> Response:
        role, index = request.path_params["role"], request.path_params["index"]
        return Response(session.picture(role, index), media_type="image/jpeg")

    def version(request: Request) -> Response:
        path = session.versions[request.path_params["number"]].path
        return Response(path.read_bytes(), media_type="image/png")

    def small(request: Request) -> Response:
        data = session.versions.small(request.path_params["number"])
        return Response(data, media_type="image/jpeg")

    async def upload(request: Request) -> Response:
        name, role = request.query_params.get("name", ""), request.query_params.get("role", "")
        index = request.query_params.get("at")
        path = session.upload_path(name)
        try:
            with open(path, "wb") as file:
                async for part in _body(request, "application/octet-stream"):
                    file.write(part)
            at = None if index is None else int(index)
            key = await run_in_threadpool(session.put, role, path, name=name, at=at)
        except BaseException:
            os.unlink(path)
            raise
        return PlainTextResponse(key)

    actions: dict[str, Callable[[dict[str, Any]], object]] = {
        "set": lambda facts: session.set(facts["values"]),
        "pause": lambda facts: session.pause(),
        "resume": lambda facts: session.resume(),
        "restart": lambda facts: session.restart(),
        "undo": lambda facts: session.undo(),
        "keep": lambda facts: session.keep(),
        "clear_mask": lambda facts: session.clear_mask(),
        "remove_style": lambda facts: session.remove_style(facts["at"]),
        "back_to": lambda facts: session.back_to(facts["version"]),
        "remove": lambda facts: session.remove(facts["version"]),
        "larger": lambda facts: session.larger(facts["version"], facts["size"]),
        "sweep": lambda facts: session.sweep((facts["across"], facts["down"])),
        "cancel": lambda facts: session.cancel(facts["job"]),
    }

    async def act(request: Request) -> Response:
        body = b"".join([part async for part in _body(request, "application/json")])
        facts = json.loads(body)
        action = actions.get(str(facts.get("action"))) if isinstance(facts, dict) else None
        if action is None:
            raise ValueError(f"action is none of {', '.join(actions)}")
        await run_in_threadpool(action, facts)
        return Response(status_code=204)

    app = Starlette(
        routes=[
            *(Route(path, static) for path in page),
            Route("/events", events),
            Route("/controls", controls),
            Route("/frame", frame),
            Route("/pictures/{role}/{index:int}", picture),
            Route("/versions/{number:int}", version),
            Route("/versions/{number:int}/small", small),
            Route("/pictures", upload, methods=["POST"]),
            Route("/act", act, methods=["POST"]),
        ],
        exception_handlers={
            KeyError: _explained(404),
            **dict.fromkeys(BAD_REQUESTS, _explained(400)),
            Exception: _explained(500),
        },
    )
    return Guard(app, token=token, host=host, port=port)


def make_server(app: ASGIApp) -> uvicorn.Server:
    """Return a server for :func:`make_app`, which is run with a socket that listens."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        ws="none",
        lifespan="off",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    return uvicorn.Server(config)


async def _body(request: Request, kind: str) -> AsyncIterator[bytes]:
    """Yield the body of a request, of the type and length that are accepted.

    Raises:
      HTTPException: It is of another type, or longer.
    """
    if request.headers.get("content-type", "") != kind:
        raise HTTPException(415, f"The body is not {kind}.")
    length, most, count = request.headers.get("content-length", "0"), MOST_BYTES[kind], 0
    too_long = f"The file is longer than {most // 2**20} MB: make it smaller."
    if not length.isdecimal() or int(length) > most:
        raise HTTPException(413, too_long)
    async for part in request.stream():
        count += len(part)
        if count > most:
            raise HTTPException(413, too_long)
        yield part


def _explained(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else reason(error)
        return PlainTextResponse(text, status)

    return answer
