"""uvicorn's HTTP protocol, with deadlines for slow clients, and kept connections after faults."""

import asyncio
import logging
from typing import Any

import h11
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from api.http.middleware.request_ids import SECURITY_HEADERS, fresh_request_id
from api.http.problems import problem_of
from core.errors import Malformed, PerennialError, RequestTimeout

log = logging.getLogger(__name__)


class WholeAnswers:
    """Logs the error of an app that has answered in full, and keeps the connection.

    Starlette answers an unexpected error with 500 and raises it again. uvicorn would log it and
    close the connection, which the answer does not say: the client's next request would be sent
    into a closed connection and fail. An error that breaks an answer off is left to uvicorn, so
    that the client sees that a part is missing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole = False

        async def noted_send(message: Message) -> None:
            nonlocal whole
            await send(message)
            if message["type"] == "http.response.body":
                whole = not message.get("more_body", False)

        try:
            await self.app(scope, receive, noted_send)
        except Exception:
            if not whole:
                raise
            log.exception("request failed unexpectedly")


class Connection(H11Protocol):
    """uvicorn's protocol with a deadline for the client and problem documents as refusals.

    The connection closes unless these arrive within `receive_seconds`: the head of the first
    request, the rest of a head that has begun, and the rest of a body that was answered without
    being read. A body that is being read is timed by `BodyArrival` instead, because only the
    reader knows when it waits for the client and for nothing else.
    """

    def __init__(self, *args: Any, receive_seconds: float, **named: Any) -> None:
        super().__init__(*args, **named)
        self._receive_seconds = receive_seconds
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Set the deadline for the first head."""
        super().connection_made(transport)
        self._update_deadline()

    def data_received(self, data: bytes) -> None:
        """Receive bytes from the client.

        Bytes of an incomplete head or of an unread body do not postpone the deadline.
        """
        super().data_received(data)
        self._update_deadline()

    def on_response_complete(self) -> None:
        """Set the deadline for the rest of this request, if it was not read to its end."""
        super().on_response_complete()
        self._update_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline."""
        super().connection_lost(exc)
        self._cancel_deadline()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text
        """Refuse bytes that are not HTTP, unless a response has begun, and close."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._send_problem(Malformed("The request is not valid HTTP/1.1."))
        self.transport.close()

    def _is_client_due(self) -> bool:
        match self.conn.their_state:
            case h11.IDLE:  # uvicorn itself limits the wait for the next request's first byte
                return self.timeout_keep_alive_task is None
            case h11.SEND_BODY:
                return self.conn.our_state is h11.DONE
        return False

    def _update_deadline(self) -> None:
        if not self._is_client_due():
            self._cancel_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self._receive_seconds, self._time_out)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _time_out(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._send_problem(RequestTimeout("The head of the request did not arrive in time."))
        self.transport.close()

    def _send_problem(self, error: PerennialError) -> None:
        state = {"request_id": fresh_request_id()}
        response = problem_of(
            HTTPConnection({"type": "http", "headers": [], "state": state}), error
        )
        response.headers.update(
            {**SECURITY_HEADERS, "X-Request-Id": state["request_id"], "Connection": "close"}
        )
        reason = STATUS_PHRASES[response.status_code]
        for event in (
            h11.Response(
                status_code=response.status_code, headers=response.raw_headers, reason=reason
            ),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
