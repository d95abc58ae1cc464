"""A client's connection: uvicorn's, with a deadline for what the client owes."""

import asyncio
from typing import Any

import h11
from starlette.requests import HTTPConnection
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from api.http.middleware import SECURITY_HEADERS, fresh_request_id
from api.http.problems import problem_of
from core.errors import Malformed, PerennialError, RequestTimeout


class Connection(H11Protocol):
    """uvicorn's protocol; it hangs up on clients that stop, and refuses in problem documents.

    A client owes the head of its first request, the end of a head that it began, and the end of
    a body that was answered without having been read. A body that is being read is timed where
    it is read (`BodyArrival`): only there is it the client alone that is waited for.
    """

    def __init__(self, *args: Any, receive_seconds: float, **named: Any) -> None:
        super().__init__(*args, **named)
        self._receive_seconds = receive_seconds
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take some bytes; those of a head or an unread body do not put off its deadline."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        super().connection_lost(exc)
        self._forget()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's, in plain text
        """Answer to what is not HTTP, unless an answer has begun."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._refuse(Malformed("This is not HTTP/1.1 that can be read."))
        self.transport.close()

    def _owes(self) -> bool:
        match self.conn.their_state:
            case h11.IDLE:  # uvicorn times the wait for a next request until its first byte comes
                return self.timeout_keep_alive_task is None
            case h11.SEND_BODY:
                return self.conn.our_state is h11.DONE
        return False

    def _watch(self) -> None:
        if not self._owes():
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self._receive_seconds, self._hang_up)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse(RequestTimeout("The head of the request did not end in time."))
        self.transport.close()

    def _refuse(self, error: PerennialError) -> None:
        state = {"request_id": fresh_request_id()}
        answer = problem_of(HTTPConnection({"type": "http", "headers": [], "state": state}), error)
        answer.headers.update(
            {**SECURITY_HEADERS, "X-Request-Id": state["request_id"], "Connection": "close"}
        )
        reason = STATUS_PHRASES[answer.status_code]
        for event in (
            h11.Response(status_code=answer.status_code, headers=answer.raw_headers, reason=reason),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
