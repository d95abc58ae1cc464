"""Embeddings in the shape of OpenAI's API, asked for by OpenAI's own client.

The tests that use OpenAI's client import it, which takes a tenth of the time of loading all tests.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from api.inference.embed import MAX_TEXT
from core.access.keys import create_key
from core.principal import Role
from core.settings import Settings
from tests.support.api import image_files as pictures
from tests.support.api.image_files import picture
from tests.support.api.oracle import WIDTH, Oracle
from tests.support.api.seeds import a_root
from tests.support.api.served import Served, serving
from tests.support.api.service import EMBEDDED, Service, code_of

if TYPE_CHECKING:
    import openai

pytestmark = EMBEDDED

PATH = "/v1/embeddings"

MODEL = "demo@production"


@pytest.fixture
def demo(service: Service) -> Service:
    a_root(service.platform)
    return service


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    with serving(settings) as found:
        a_root(found.platform)
        yield found


@pytest.fixture
def client(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[openai.OpenAI]:
    import openai

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    _, secret = create_key(served.platform, name="reader", role=Role.VIEWER, models=["demo"])
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=secret, max_retries=0) as made:
        yield made


def url_of(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_openais_client_shows_what_is_wrong(client: openai.OpenAI) -> None:
    import openai

    with pytest.raises(openai.UnprocessableEntityError, match="Arrays of tokens") as tokens:
        client.embeddings.create(model=MODEL, input=[1, 2, 3])
    assert (tokens.value.code, tokens.value.param) == ("field_invalid", "/input")
    with pytest.raises(openai.NotFoundError, match="model") as missing:
        client.embeddings.create(model="nowhere", input="a")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError, match="key") as stranger:
        client.with_options(api_key="pk_no").embeddings.create(model=MODEL, input="a")
    assert stranger.value.code == "unauthorised"


def test_the_model_of_a_reply_is_accepted_as_the_model_of_a_request(demo: Service) -> None:
    asked = {"model": "demo", "input": "a boot", "dimensions": WIDTH, "user": "me"}
    first = demo.client.post(PATH, json=asked).json()
    again = demo.client.post(PATH, json=asked | {"model": first["model"]})
    assert again.json() == first
    other = first["model"][:-1] + ("0" if first["model"][-1] != "0" else "1")
    refused = demo.client.post(PATH, json=asked | {"model": other})
    assert code_of(refused) == (404, "version_not_found")


REFUSED = [
    ({"input": ""}, 422, "field_invalid", "/input"),
    ({"input": "a" * (MAX_TEXT + 1)}, 422, "field_invalid", "/input"),
    ({"input": [url_of(b"")] * 1001}, 422, "field_invalid", "/input"),
    ({"input": [[1, 2], [3]]}, 422, "field_invalid", "/input"),
    ({"input": ["a", "data:image/png;base64,Y"]}, 422, "field_invalid", "/input/1"),
    ({"input": ["a", url_of(pictures.tiff())]}, 415, "unsupported_image", "/input/1"),
    ({"dimensions": WIDTH + 1}, 422, "field_invalid", "/dimensions"),
]


def test_what_cannot_be_embedded_is_refused_where_it_stands(demo: Service, oracle: Oracle) -> None:
    for changes, status, code, pointer in REFUSED:
        answer = demo.client.post(PATH, json={"model": MODEL, "input": "a"} | changes)
        assert code_of(answer) == (status, code), answer.text
        assert [line["pointer"] for line in answer.json()["errors"]] == [pointer]
        assert answer.json()["error"] == {
            "message": answer.json()["detail"],
            "type": "perennial_error",
            "param": pointer,
            "code": code,
        }
        assert oracle.requests == ([1] if "dimensions" in changes else [])
        oracle.requests.clear()


@pytest.mark.parametrize("settings", [{"max_file_bytes": 100}], indirect=True)
def test_an_image_has_the_bytes_of_a_file_at_most(demo: Service) -> None:
    answer = demo.client.post(PATH, json={"model": MODEL, "input": url_of(picture(1))})
    assert code_of(answer) == (413, "file_too_large")
    assert "error" not in demo.client.get("/v1/nothing").json()
