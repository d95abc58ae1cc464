"""A real OpenID Connect issuer in a process of its own, and the tokens that it gives."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from devtools.ports import free_port
from tests.support.places import ROOT
from tests.support.processes import wait_for

AUDIENCE = "perennial"

BACK = "http://127.0.0.1:1/back"  # nothing listens there, and nothing needs to


@dataclass(frozen=True, kw_only=True)
class Issuer:
    port: int
    process: int  # its id

    @property
    def url(self) -> str:
        """Its name, as its tokens have it."""
        return f"http://127.0.0.1:{self.port}"

    def log_in(
        self, subject: str, *, audience: str = AUDIENCE, host: str = "127.0.0.1", **claims: Any
    ) -> str:
        """The token of somebody who logs in for an audience, with these claims.

        The issuer calls itself by the name of the host that it is asked at.
        """
        with httpx.Client(base_url=f"http://{host}:{self.port}") as client:
            client.put(f"/users/{subject}", json=claims).raise_for_status()
            asked = {"client_id": audience, "redirect_uri": BACK, "response_type": "code"}
            answer = client.post(
                "/oauth2/authorize", params=asked | {"scope": "openid"}, data={"sub": subject}
            )
            (code,) = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
            answer = client.post("/oauth2/token", data=form, auth=(audience, "any"))
            return str(answer.raise_for_status().json()["id_token"])

    def sign(self, **changes: Any) -> str:
        """A token with claims that no issuer would give; None leaves one out."""
        now = int(time.time())
        given = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 600}
        claims = {name: one for name, one in (given | changes).items() if one is not None}
        return httpx.post(f"{self.url}/sign", json=claims).raise_for_status().text

    def rotate(self) -> None:
        """Give it another key; tokens that the old one signed are valid no more."""
        httpx.post(f"{self.url}/rotate").raise_for_status()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Let it accept connections in the block, and answer none of them before its end."""
        os.kill(self.process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process, signal.SIGCONT)

    def reads(self) -> int:
        return int(httpx.get(f"{self.url}/reads").text)

    def keys(self) -> Any:
        return httpx.get(f"{self.url}/jwks").json()["keys"]


@contextmanager
def an_issuer() -> Iterator[Issuer]:
    """Start an issuer and wait until it answers; kill it at the end."""
    port = free_port()
    command = [sys.executable, "-m", "tests.support.servers.issuer_process", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    found = Issuer(port=port, process=process.pid)

    def answers() -> bool:
        assert process.poll() is None, "the issuer ended: pip install --group dev"
        with suppress(httpx.TransportError):
            return httpx.get(f"{found.url}/reads").is_success
        return False

    try:
        wait_for(answers, seconds=60)
        yield found
    finally:
        process.kill()
        process.wait()
