"""A registry of OCI artifacts and images, by its distribution API.

Written on httpx, which the client has. The library `oras` (0.2.43) has to be told in which of two
ways a registry logs in, fails after two minutes where that was wrong, keeps a token that is too
narrow for the next request, and takes the logins of other programs.
"""

import base64
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from pathlib import Path
from urllib.request import parse_http_list, parse_keqv_list

import click
import httpx

from perennial.publishing.facts import Facts
from perennial.publishing.packs import Blob, model_image, model_pack
from perennial.terminal.output import bytes_bar
from perennial.terminal.session import HERE, Failure, address_of

OCI = "oci://"
USER, PASSWORD = "OCI_USER", "OCI_PASSWORD"

NAME = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
ADDRESS = re.compile(
    rf"{OCI}(?P<host>[\w.-]+(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?)"
    rf"/(?P<repository>{NAME}(?:/{NAME})*):(?P<tag>\w[\w.-]{{0,127}})",
    re.ASCII,
)

TIMEOUT = httpx.Timeout(30.0, read=300.0)  # a registry may hash a large layer before it answers


class Repository:
    """A repository of a registry, and a tag in it."""

    def __init__(self, address: str) -> None:
        """Name them as oci://HOST/NAME:TAG. Raises BadParameter."""
        found = ADDRESS.fullmatch(address)
        if found is None:
            raise click.BadParameter("give oci://HOST/NAME:TAG, as in oci://ghcr.io/lab/shoes:3")
        self._host, self._name, self._tag = found["host"], found["repository"], found["tag"]
        self._login = _Login(
            httpx.URL(address_of(self._host)), f"repository:{self._name}:pull,push"
        )

    def send(self, folder: Path, facts: Facts, *, image: bool) -> str:
        """Send a folder as a ModelPack or as an image, and return its address with its digest.

        The tag moves to it, from whatever had it. Raises Failure for what the registry refuses.
        """
        pack = (model_image if image else model_pack)(facts, folder)
        base = f"{address_of(self._host)}/v2/{self._name}/"
        try:
            with (
                httpx.Client(base_url=base, auth=self._login, timeout=TIMEOUT) as http,
                bytes_bar("sending") as on_bytes,
            ):
                before, total = 0, sum(blob.size for blob in pack.blobs)

                def told(before: int, sent: int) -> None:
                    on_bytes(before + sent, total)

                for blob in pack.blobs:
                    self._send_blob(http, blob, partial(told, before))
                    before += blob.size
                for manifest in pack.manifests:
                    tag = self._tag if manifest is pack.manifests[-1] else manifest.digest
                    self._send_manifest(http, manifest, tag)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._failed(str(error) or type(error).__name__) from error
        except (LookupError, ValueError, AttributeError) as error:  # a login, or an upload's place
            raise self._failed("it does not answer as the distribution API does") from error
        return f"{OCI}{self._host}/{self._name}:{self._tag}@{pack.manifests[-1].digest}"

    def _send_blob(self, http: httpx.Client, blob: Blob, on_sent: Callable[[int], None]) -> None:
        """Send bytes unless the repository has them; `on_sent` is told how many are there."""
        found = http.head(f"blobs/{blob.digest}", follow_redirects=True)
        if found.status_code == httpx.codes.OK:
            on_sent(blob.size)
            return
        self._require(found, httpx.codes.NOT_FOUND)
        begun = self._require(http.post("blobs/uploads/"), httpx.codes.ACCEPTED)
        place = begun.url.join(begun.headers["Location"]).copy_add_param("digest", blob.digest)
        require_safe(place)
        headers = {"Content-Length": str(blob.size), "Content-Type": "application/octet-stream"}
        content = _Told(blob, on_sent)
        self._require(http.put(place, content=content, headers=headers), httpx.codes.CREATED)

    def _send_manifest(self, http: httpx.Client, manifest: Blob, tag: str) -> None:
        headers = {"Content-Type": manifest.media_type}
        answer = http.put(f"manifests/{tag}", content=b"".join(manifest), headers=headers)
        self._require(answer, httpx.codes.CREATED)
        digest = answer.headers.get("Docker-Content-Digest", manifest.digest)
        if digest != manifest.digest:
            raise self._failed(f"it has stored {digest} in place of {manifest.digest}")

    def _require(self, answer: httpx.Response, wanted: int) -> httpx.Response:
        """Return an answer. Raises Failure if it is not the wanted one."""
        if answer.status_code == wanted:
            return answer
        said = f"{answer.status_code} {answer.reason_phrase}"
        try:
            errors = answer.json()["errors"]
            said += f", {'; '.join(one['message'] for one in errors)}"
        except (ValueError, LookupError, TypeError):
            pass  # it has not said why, or not as the API wants it
        if answer.status_code == httpx.codes.UNAUTHORIZED and not self._login.is_given:
            said += f". Set {USER} and {PASSWORD}"
        raise self._failed(said)

    def _failed(self, why: str) -> Failure:
        return Failure(self._login.hidden(f"{self._host} did not take {self._name}: {why}"))


class _Told:
    """The bytes of a blob, as often as they are asked for; `on_sent` gets the count so far."""

    def __init__(self, blob: Blob, on_sent: Callable[[int], None]) -> None:
        self._blob, self._on_sent = blob, on_sent

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for piece in self._blob:
            yield piece
            sent += len(piece)
            self._on_sent(sent)


class _Login(httpx.Auth):
    """The user and the password of the environment, in the way that the registry asks for.

    It asks by its first answer: for both with each request, or for a token, which another address
    gives out for both, or to anybody. Neither goes out unencrypted, but to this machine.
    """

    requires_response_body = True

    def __init__(self, registry: httpx.URL, scope: str) -> None:
        user, self._password = os.environ.get(USER, ""), os.environ.get(PASSWORD, "")
        both = base64.b64encode(f"{user}:{self._password}".encode()).decode()
        self._basic = f"Basic {both}" if user and self._password else ""
        self._registry, self._scope = registry, scope
        self._header = ""

    @property
    def is_given(self) -> bool:
        """True if the environment has both."""
        return bool(self._basic)

    def hidden(self, text: str) -> str:
        """Return a text without the password."""
        return text.replace(self._password, f"${PASSWORD}") if self._password else text

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Log in where the registry asks for it; other addresses get nothing."""
        if _origin(request.url) != _origin(self._registry):
            yield request
            return
        if self._header:
            request.headers["Authorization"] = self._header
        answer = yield request
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return
        kind, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
        if kind.lower() == "basic":
            self._header = self._basic
        elif kind.lower() == "bearer":
            answer = yield self._request_for_token(parse_keqv_list(parse_http_list(rest)))
            if answer.status_code != httpx.codes.OK:
                return
            found = answer.json()
            self._header = f"Bearer {found.get('token') or found['access_token']}"
        if self._header:
            request.headers["Authorization"] = self._header
            yield request

    def _request_for_token(self, said: Mapping[str, str]) -> httpx.Request:
        """Return what asks the address that a registry has named."""
        place = httpx.URL(said["realm"])
        require_safe(place)
        asked = {"service": said.get("service", ""), "scope": said.get("scope") or self._scope}
        headers = {"Authorization": self._basic} if self._basic else {}
        return httpx.Request("GET", place.copy_merge_params(asked), headers=headers)


def _origin(place: httpx.URL) -> tuple[str, str, int | None]:
    return place.scheme, place.host, place.port


def require_safe(place: httpx.URL) -> None:
    """Raise UnsupportedProtocol for an address that is neither of this machine nor https."""
    if place.scheme != "https" and place.host not in HERE:
        raise httpx.UnsupportedProtocol(f"it names {place.host}, without https")
