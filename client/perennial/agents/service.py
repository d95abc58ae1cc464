"""The service that the tools speak to, with the server's key or with each caller's own."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from starlette.authentication import AuthenticationError

from perennial.agents.folders import Folders
from perennial.aio.client import AsyncClient
from perennial.errors import JobFailed, ServiceError
from perennial.terminal.session import TIMEOUT, explained

REFUSED = 401


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service, the key of whoever calls, and the folders to read files from."""

    url: str
    key: str | None
    """None: each request has a key of its own, as its bearer token."""
    folders: Folders

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        """Yield a client with the caller's key. Raises ToolError for what the service refuses."""
        async with self._client(self._key()) as client:
            try:
                yield client
            except (ServiceError, JobFailed, httpx.TransportError, httpx.InvalidURL) as error:
                raise ToolError(explained(error, self.url).message) from error

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return the caller whose key this is, or None if the service does not accept it.

        Raises AuthenticationError if the service does not answer. Callers differ by their keys, so
        a session of one key is closed to all others.
        """
        try:
            async with self._client(token) as client:
                await client.principal()
        except ServiceError as error:
            if error.status == REFUSED:
                return None
            raise AuthenticationError(explained(error, self.url).message) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise AuthenticationError(explained(error, self.url).message) from error
        caller = hashlib.sha256(token.encode()).hexdigest()
        return AccessToken(token=token, client_id=caller, scopes=[])

    def _client(self, key: str) -> AsyncClient:
        return AsyncClient(self.url, key, timeout=TIMEOUT)

    def _key(self) -> str:
        """Return the key to use. Raises ToolError if the request has none."""
        if self.key is not None:
            return self.key
        caller = get_access_token()
        if caller is None:
            raise ToolError("Send a key of the service as the bearer token.")
        return caller.token


Call = Context[Service]


def service_of(call: Call) -> Service:
    """Return the service that a tool's call is for."""
    return call.request_context.lifespan_context
