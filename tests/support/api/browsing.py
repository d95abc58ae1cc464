"""Browsers that ask for pages, and a model whose pages have something to show."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from api.http.authentication import SESSION_COOKIE
from core.access.authenticate import sign_in
from core.access.keys import create_key
from core.access.rows import Keys
from core.platform import Platform
from core.principal import Role
from core.values import sha256
from tests.support.api.service import Service
from tests.support.evaluation.each_class import knowing_each
from tests.support.scene import Scene

SCRIPT = "<script>alert(1)</script>"

TOKEN = re.compile(r'name="token" value="([^"]+)"')


@dataclass(frozen=True, kw_only=True)
class Browser:
    """A browser with one session; it follows no redirects."""

    client: TestClient
    session: str | None = None

    def get(self, path: str, **headers: str) -> httpx.Response:
        self.client.cookies.clear()  # which all browsers of the tests would share
        return self.client.get(path, headers=self._headers(headers), follow_redirects=False)

    def post(
        self, path: str, form: dict[str, Any], *, as_files: bool = False, **headers: str
    ) -> httpx.Response:
        """The answer to a form as it is given; `as_files` sends it as forms with files are."""
        sent = self._headers(headers)
        self.client.cookies.clear()
        body = {"files": {k: (None, v) for k, v in form.items()}} if as_files else {"data": form}
        return self.client.post(path, headers=sent, follow_redirects=False, **body)

    def send(self, path: str, **fields: Any) -> httpx.Response:
        """The answer to a form with the token of its session."""
        return self.post(path, fields | {"token": self.token()})

    def token(self) -> str:
        found = TOKEN.search(self.get("/ui").text)
        assert found
        return found[1]

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        if self.session:
            others = headers.pop("cookie", "")
            headers["Cookie"] = f"{SESSION_COOKIE}={self.session}; {others}"
        return headers


class Marks(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, dict(attrs)))


def browser_of(service: Service, role: Role, *models: str) -> Browser:
    """A browser that is signed in by a new key of this role."""
    with service.platform.transactions(read_only=True) as work:
        number = len(work[Keys].page(1000, None))
    name = f"{role.value}-{number}"
    _, secret = create_key(service.platform, name=name, role=role, models=models or None)
    session, _ = sign_in(service.platform, sha256(secret.encode()))
    return Browser(client=service.client, session=session)


def make_line(platform: Platform, patch: pytest.MonkeyPatch) -> Scene:
    """Make a model whose version 2 lost hats, gained bags and learned a class named by a script."""
    scene = Scene(platform.transactions, platform.artifacts)
    model = scene.model("line")
    scene.suite(model, scene.frozen("hat", "bag", each=6, offset=500), name="easy")
    knowing_each(scene, model, patch, {1: ("hat",), 2: ("bag", SCRIPT, "cat")})
    scene.learn(model, scene.frozen(SCRIPT, "cat", offset=40), auto_promote=False)
    return scene
