"""Connections to a receiver: its host is resolved once, and only checked addresses are reached."""

import socket
from collections.abc import Callable, Iterable, Sequence

import anyio.to_thread
import httpcore

from core.domain.webhooks.addresses import is_public
from core.errors import UrlForbidden

Resolve = Callable[[str, int], Sequence[str]]  # host and port to IP addresses; raises OSError


def resolve_host(host: str, port: int) -> Sequence[str]:
    """Return the IP addresses of a host, each once. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(f"{host!r} is not a host") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def require_public(host: str, addresses: Iterable[str]) -> None:
    """Raise UrlForbidden unless all of a host's addresses are public."""
    if any(not is_public(address) for address in addresses):
        raise UrlForbidden(
            f"{host} has an address that is not public. Whoever runs the service can allow such "
            "receivers with PERENNIAL_WEBHOOK_PRIVATE."
        )


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Network that connects to the very address that was checked.

    So a name that resolves to another address the next moment leads nowhere else. TLS still
    verifies the certificate against the name.
    """

    def __init__(self, resolve: Resolve, *, allow_private: bool) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that answers. Raises UrlForbidden or OSError."""
        addresses = await anyio.to_thread.run_sync(
            self._resolve, host, port, abandon_on_cancel=True
        )
        if not self._allow_private:
            require_public(host, addresses)
        refused: Exception = OSError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except httpcore.ConnectError as error:
                refused = error
        raise refused
