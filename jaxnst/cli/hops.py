"""From an address to bytes, hop by hop; every host is looked up once, checked and connected to."""

import http.client
import ipaddress
import socket
import ssl
import time
from contextlib import closing
from typing import TypeAlias
from urllib.parse import SplitResult, quote, urljoin

from jaxnst._files import reason
from jaxnst._version import __version__
from jaxnst.cli.fetching import REDIRECTS, shown, split, too_large

PIECE = 2**16

HEADERS = {
    "User-Agent": f"jaxnst/{__version__}",
    "Accept": "image/png, image/jpeg, image/webp, image/tiff, image/bmp, */*;q=0.1",
    "Accept-Encoding": "identity",
    "Connection": "close",
}

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Hops:
    """Follows an address to what it gives.

    Args:
      allow_local: As :func:`jaxnst.cli.fetching.download`.
      most: As there.
      seconds: As there.

    Attributes:
      over: Set it to end: the next piece that comes is the last.
    """

    def __init__(self, *, allow_local: bool, most: int, seconds: int | float) -> None:
        self.allow_local, self.most = allow_local, most
        self.until = time.monotonic() + seconds
        self.over = False

    def follow(self, address: str) -> bytes:
        """Return what an address gives, through all redirects.

        Raises:
          OSError: It cannot be had.
          ValueError: An address on the way cannot be used, or it gives too much.
        """
        for _ in range(REDIRECTS + 1):
            try:
                found = self.hop(address)
            except (OSError, http.client.HTTPException) as error:
                raise OSError(f"{shown(address)} cannot be had ({reason(error)})") from error
            if isinstance(found, bytes):
                return found
            address = _joined(address, found)
        raise OSError(f"{shown(address)} is one redirect too many: {REDIRECTS} are followed")

    def hop(self, address: str) -> bytes | str:
        """Ask one address; return what it gives, or where it redirects to."""
        with closing(self.connection(address, split(address))) as connection:
            connection.request("GET", _target(split(address)), headers=HEADERS)
            with closing(connection.getresponse()) as response:
                if response.status in (301, 302, 303, 307, 308):
                    where = response.getheader("Location")
                    if not where:
                        raise OSError(f"status {response.status} that leads nowhere")
                    return where
                if response.status != 200:
                    raise OSError(f"status {response.status} {response.reason[:60]}")
                return self.body(response, shown(address))

    def connection(self, address: str, parts: SplitResult) -> "Connection":
        """Look up a host and check where it is."""
        host, name = parts.hostname or "", shown(address)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        try:
            host = host if ":" in host else host.encode("idna").decode()
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except ValueError as error:  # those of Unicode are, too
            raise ValueError(f"{name} names no host: check it") from error
        except socket.gaierror as error:
            raise OSError(f"{host} is not known: {reason(error)}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        local = [a for a in addresses if not is_public(a)]
        if local and not self.allow_local:
            raise ValueError(
                f"{name} is at {local[0]}, on this machine or a network that is not public: "
                "--allow-local permits that"
            )
        left = max(0.0, self.until - time.monotonic()) + 1  # by then nobody waits any more
        return Connection(host, port, addresses, secure=secure, seconds=left)

    def body(self, response: http.client.HTTPResponse, name: str) -> bytes:
        """Read what a response holds, within the bounds."""
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise OSError("it comes compressed, which nobody asked for")
        length, data = response.length, bytearray()
        while not self.over and max(length or 0, len(data)) <= self.most:
            if length is not None and len(data) >= length:
                return bytes(data[:length])
            piece = response.read1(PIECE)  # what has come: read() would wait for all of it
            if not piece and length is None:
                return bytes(data)
            if not piece:
                raise OSError(f"it was cut off after {len(data)} of {length} bytes")
            data += piece
        raise ValueError(too_large(name, self.most))


class Connection(http.client.HTTPConnection):
    """Connects to the first that answers of some numeric addresses, whatever the host's name."""

    def __init__(
        self, host: str, port: int, addresses: list[str], *, secure: bool, seconds: int | float
    ) -> None:
        self.default_port = 443 if secure else 80  # the only one that "Host" leaves out
        super().__init__(host, port, timeout=seconds)
        self.addresses, self.secure, self.seconds = addresses, secure, seconds

    def connect(self) -> None:
        """Connect, and speak TLS if need be: with the name's certificate, not the number's."""
        for address in self.addresses:
            try:
                self.sock = socket.create_connection((address, self.port), self.seconds)
                break
            except OSError as error:
                failure = error
        else:
            raise failure
        if self.secure:
            self.sock = _trusted().wrap_socket(self.sock, server_hostname=self.host)


def _trusted() -> ssl.SSLContext:
    """Trust whom the system trusts, and whom requests trusts, since some systems name nobody."""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def is_public(text: str) -> bool:
    """Say whether a numeric address is one of the open internet.

    Example:
      >>> is_public("1.1.1.1"), is_public("192.168.1.1"), is_public("::ffff:127.0.0.1")
      (True, False, False)
    """
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = _inner(address) or address
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not special


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that stands in an IPv6 one, and that would be connected to."""
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _joined(address: str, where: str) -> str:
    try:
        return urljoin(address, where)
    except ValueError as error:
        raise ValueError(f"{shown(address)} redirects to what is no address") from error


def _target(parts: SplitResult) -> str:
    """Write what is asked of the host; what may not stand in a request is escaped."""
    path = quote(parts.path or "/", safe="%/:@!$&'()*+,;=~")
    return path + ("?" + quote(parts.query, safe="%/:@!$&'()*+,;=~?[]") if parts.query else "")
