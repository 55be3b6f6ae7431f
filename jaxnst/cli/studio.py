"""``jaxnst studio``: a page in the browser on which a person paints with the optimizer."""

import inspect
import secrets
import shutil
import socket
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from jaxnst._files import name_of
from jaxnst.cli.errors import STOPPED, UsageError, guarded, leave
from jaxnst.cli.flags import MachineFlags, Parser, add_fields, flag, read_fields
from jaxnst.cli.interrupt import Stopped, finishing, stoppable
from jaxnst.cli.messages import Messages, quiet_xla
from jaxnst.cli.option_types import SIZES, integer

DESCRIPTION = (
    "Open a page in the browser on which you paint: drop a photograph and a painting on it, watch "
    "the picture being painted, and change it meanwhile. It works offline, and for this machine "
    "alone unless --host says otherwise."
)

PACKAGES = ("starlette", "uvicorn")


@dataclass(frozen=True, kw_only=True)
class StudioFlags(MachineFlags):
    """Flags of the command."""

    pictures: Sequence[str] = ()
    out: str = flag("--out FOLDER", "folder of the versions that you keep", "studio")
    size: int | None = flag(
        "--size N", "longest side to begin with, pixels (default: 512)", read=integer(*SIZES)
    )
    host: str = flag(
        "--host ADDRESS", "address to listen on; 0.0.0.0 is open to the network", "127.0.0.1"
    )
    port: int = flag(
        "--port N", "port to listen on; 0 is any that is free", 0, read=integer(0, 65535)
    )
    no_browser: bool = flag("--no-browser", "only print the page's address", False)


def main(arguments: Sequence[str], prog: str) -> int:
    """Run the command and return its exit status."""
    parser = Parser(prog=prog, description=DESCRIPTION)
    text = "a photograph, and paintings, to begin with"
    parser.add_argument("pictures", metavar="PICTURE", nargs="*", default=(), help=text)
    add_fields(parser, StudioFlags, inspect.get_annotations(StudioFlags))
    add_fields(parser, MachineFlags, ["device", "no_cache", "quiet", "debug"])
    flags = read_fields(StudioFlags, parser.read(arguments))
    messages = Messages(prog, quiet=flags.quiet)
    with messages.warnings_as_notices():
        return guarded(prog, lambda: _run(flags, messages), debug=flags.debug)


def _run(flags: StudioFlags, messages: Messages) -> int:
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UsageError(f"the studio needs {missing[0]}: pip install 'jaxnst[studio]'")
    quiet_xla(debug=flags.debug)

    from jaxnst.cli.device import clear_programs, keep_programs, use_device
    from jaxnst.studio.server import make_app, make_server
    from jaxnst.studio.session import Session

    use_device(flags.device)
    keep_programs(messages.notice, unless=flags.no_cache)
    listener = _listener(flags.host, flags.port)
    port, token = listener.getsockname()[1], secrets.token_urlsafe(24)
    settings: dict[str, Any] = {} if flags.size is None else {"size": flags.size}
    session = Session(flags.out, settings=settings, before=clear_programs)
    for index, path in enumerate(flags.pictures):
        copy = shutil.copyfile(path, session.upload_path(path))
        session.put("style" if index else "content", copy, name=path)
    app = make_app(session, token=token, host=flags.host, port=port)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(flags.host, flags.host)

    def address(name: str) -> str:
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/?token={token}"

    print(address(host), flush=True)
    if host != flags.host:
        messages.info(f"from other machines: {address(socket.gethostname())}")
    messages.info(f"versions are kept in {name_of(flags.out)}; Ctrl-C ends the studio")
    if not flags.no_browser:
        webbrowser.open(address(host))
    try:
        stoppable(lambda: make_server(app).run([listener]))
    except Stopped as stop:
        with finishing():
            version = session.keep_unless_kept()
            saved = f", saved {name_of(version.path)}" if version else ""
            session.close()
            messages.info(f"{messages.prog}: stopped{saved}")
            leave(0 if stop.status == STOPPED else stop.status)  # Ctrl-C is its end
    return 0


def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
      UsageError: The address is not of this machine, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        text = (error.strerror or str(error)).partition(" (while")[0].lower()
        raise UsageError(f"--host {host} --port {port}: {text}: give another") from error
