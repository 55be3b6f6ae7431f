"""Download a file over http or https, with bounds on its size, the waiting time and redirects."""

from collections.abc import Callable
from io import BufferedIOBase
from typing import Any
from urllib.parse import urljoin

from jaxnst._files import reason
from jaxnst._version import __version__

REDIRECTS = 5
"""Most redirects that are followed."""


def download(
    address: str,
    file: BufferedIOBase,
    *,
    max_bytes: int,
    timeout: int | float,
    check: Callable[[str], object] = str,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write what an address gives into a file.

    Args:
      address: Of http or https.
      file: Open for writing.
      max_bytes: Most bytes that are accepted.
      timeout: Longest wait for a connection, for an answer, and between two pieces; seconds.
      check: Called with every address that is redirected to; raises ValueError to refuse it.
      on_progress: Called with the bytes received so far, and those of the whole file (0 if
        unknown); may raise to stop.

    Raises:
      OSError: It cannot be downloaded, and why, in a few words.
    """
    import requests  # as slow to import as everything else together
    from urllib3.exceptions import HTTPError, LocationValueError

    class Session(requests.Session):
        """Sends no passwords of ``.netrc``, unlike the session of requests."""

        def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
            prepared_request.headers.pop("Authorization", None)

    def check_redirect(response: requests.Response, **_: Any) -> None:
        if response.is_redirect:
            response.close()  # its body is not read, however long
            try:
                target = urljoin(response.url, session.get_redirect_target(response))
            except ValueError:
                raise OSError("it redirects to no valid address") from None
            check(target)

    too_large = OSError(f"more than the {max_bytes} bytes that are accepted")
    with Session() as session:
        session.auth = lambda request: request
        session.max_redirects = REDIRECTS
        session.headers["User-Agent"] = f"jaxnst/{__version__}"
        session.headers["Accept-Encoding"] = "identity"
        try:
            with session.get(
                address, stream=True, timeout=timeout, hooks={"response": check_redirect}
            ) as response:
                if response.status_code != 200:
                    raise OSError(f"status {response.status_code} {response.reason[:60]}")
                encoding = response.headers.get("Content-Encoding", "identity").lower()
                if encoding != "identity":  # whose size is not known before it is unpacked
                    raise OSError(
                        f"the server compressed it ({encoding[:20]}), which is not accepted"
                    )
                total, done = response.raw.length_remaining or 0, 0
                if total > max_bytes:
                    raise too_large
                for piece in response.iter_content(2**16):
                    done += len(piece)
                    if done > max_bytes:
                        raise too_large
                    file.write(piece)
                    if on_progress is not None:
                        on_progress(done, total)
        except (requests.RequestException, HTTPError) as error:
            invalid = requests.exceptions.InvalidURL, requests.exceptions.MissingSchema
            if isinstance(error, (*invalid, LocationValueError)):  # may quote a password
                raise OSError("no valid address") from None
            # What the system said, below what the libraries made of it.
            cause: BaseException = error
            while cause.__context__ is not None:
                cause = cause.__context__
            raise OSError(reason(cause)) from error
