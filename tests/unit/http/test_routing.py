"""The values that endpoints are given of their request."""

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, Request
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from api.dependencies import OfRequest
from api.http import error_handlers
from api.http.middleware import Layer, RequestIds
from api.http.routing import Routes, ThreadRoute
from core.principal import Role
from tests.support.factories import TESTER


async def caller(request: Request) -> str:
    return request.headers["from"]


class LetIn(Layer):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["principal"] = TESTER
        await self.app(scope, receive, send)


Direct, Solved = Annotated[str, OfRequest(caller)], Annotated[str, Depends(caller)]


def client_of(who: Any) -> TestClient:
    router = Routes(route_class=ThreadRoute)

    @router.get("/plain/{place}", Role.VIEWER)
    def plain(place: str, sent_by: who, size: int = 3) -> list[str | int]:
        return [place, sent_by, size]

    @router.get("/asked/{place}", Role.VIEWER)
    async def asked(
        place: str,
        asking: Request,
        sent_by: who,
        key: Annotated[str | None, Header(min_length=2)] = None,
    ) -> list[str | None]:
        return [place, sent_by, key, asking.url.path]

    app = FastAPI(routes=router.routes)
    error_handlers.register(app)
    app.add_middleware(LetIn)
    app.add_middleware(RequestIds)
    return TestClient(app)


@pytest.mark.parametrize("who", [Direct, Solved], ids=["directly", "by the framework"])
def test_an_endpoint_is_given_what_its_request_determines(who: Any) -> None:
    client = client_of(who)

    def get(path: str, name: str, **headers: str) -> Any:
        answer = client.get(path, headers={"From": name, **headers})
        return answer.json() if answer.status_code == 200 else answer.status_code

    for name in ("ann", "bob"):
        assert get("/plain/a", name) == ["a", name, 3]
        assert get("/plain/a?size=9", name) == ["a", name, 9]
        assert get("/asked/b", name, key="xy") == ["b", name, "xy", "/asked/b"]
    assert get("/plain/a?size=x", "ann") == 422
    assert get("/asked/b", "ann", key="x") == 422
    for unknown in ("sent_by=eve", "request_of_it=eve", "asking=eve", "values=eve"):
        assert (get(f"/plain/a?{unknown}", "ann"), get(f"/asked/b?{unknown}", "ann")) == (422, 422)


def test_a_document_does_not_show_how_endpoints_are_given_it() -> None:
    direct, solved = (client_of(who).get("/openapi.json").json() for who in (Direct, Solved))
    assert direct["paths"] == solved["paths"]
