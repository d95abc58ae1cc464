"""Keys while tokens wait for an issuer that does not answer."""

from collections.abc import Collection, Mapping
from threading import Event

import anyio
import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from api.http.authentication import KeyCheck
from api.http.lookups import SharedLookup
from api.http.middleware import RequestIds
from core.errors import DatabaseUnavailable, IssuerUnavailable
from core.principal import Principal, Role

MORE_THAN_THREADS = 60  # all requests share 40


def no_sessions(_ids: Collection[str]) -> Mapping[str, Principal]:
    return {}


@pytest.mark.parametrize("tokens", [1, MORE_THAN_THREADS])
def test_keys_are_accepted_while_many_tokens_wait(tokens: int) -> None:
    may_answer = Event()

    def authenticate(secrets: Collection[str]) -> Mapping[str, Principal]:
        known = {"key": Principal(name="ci", role=Role.VIEWER)}
        return {secret: known[secret] for secret in secrets if secret in known}

    def authenticate_token(_token: str) -> Principal:
        may_answer.wait()
        raise IssuerUnavailable

    async def who(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["state"]["principal"].name)(scope, receive, send)

    checked = KeyCheck(
        who,
        keys=SharedLookup(authenticate),
        sessions=SharedLookup(no_sessions),
        authenticate_token=authenticate_token,
    )
    statuses: list[int] = []

    async def ask(client: httpx.AsyncClient, secret: str) -> httpx.Response:
        answer = await client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
        statuses.append(answer.status_code)
        return answer

    async def main() -> None:
        transport = httpx.ASGITransport(RequestIds(checked))
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
            anyio.create_task_group() as waiting,
        ):
            for _ in range(tokens):
                waiting.start_soon(ask, client, "a.b.c")
            try:
                await anyio.wait_all_tasks_blocked()
                with anyio.fail_after(60):
                    assert (await ask(client, "key")).text == "ci"
                assert statuses == [200]
            finally:
                may_answer.set()

    anyio.run(main)
    assert statuses == [200] + [503] * tokens


def test_each_request_of_a_look_up_that_fails_gets_503() -> None:
    looked_up: list[Collection[str]] = []

    def authenticate(secrets: Collection[str]) -> Mapping[str, Principal]:
        looked_up.append(secrets)
        raise DatabaseUnavailable

    async def nobody(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("let in")

    answers: list[httpx.Response] = []

    async def ask(client: httpx.AsyncClient, secret: str) -> None:
        headers = {"Authorization": f"Bearer {secret}", "X-Request-Id": secret}
        answers.append(await client.get("/v1/models", headers=headers))

    async def main() -> None:
        keys, sessions = SharedLookup(authenticate), SharedLookup(no_sessions)
        checked = KeyCheck(nobody, keys=keys, sessions=sessions)
        transport = httpx.ASGITransport(RequestIds(checked))
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
            anyio.create_task_group() as asking,
        ):
            for number in range(5):
                asking.start_soon(ask, client, f"key-{number}")

    anyio.run(main)
    assert len(looked_up) == 1
    assert [answer.status_code for answer in answers] == [503] * 5
    assert all("Retry-After" in answer.headers for answer in answers)
    assert {answer.json()["request_id"] for answer in answers} == {f"key-{n}" for n in range(5)}
