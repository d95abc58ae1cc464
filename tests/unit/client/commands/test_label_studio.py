"""The backend for Label Studio in docs/examples is sent what Label Studio sends."""

import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from core.datasets.manifests import Side
from tests.support.api.image_files import pictures_on
from tests.support.api.service import KEY
from tests.support.places import ROOT
from tests.support.servers.answering import QuietHandler, answering
from tests.unit.client.commands.conftest import Site

TOKEN = "Token studio-token"

LABEL_CONFIG = """
<View>
  <Image name="image" value="$photo"/>
  <Choices name="what" toName="image"><Choice value="boot"/><Choice value="bag"/></Choices>
</View>
"""

PICTURES = dict(enumerate(pictures_on(Side.TRAIN, 6)))


class Studio(QuietHandler):
    """Label Studio's uploaded files, which take its token."""

    def do_GET(self) -> None:
        number = int(self.path.removeprefix("/data/upload/1/").removesuffix(".png") or -1)
        allowed = self.headers["Authorization"] == TOKEN
        data = PICTURES.get(number, b"") if allowed else b""
        self.send_response(200 if data else 404)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def backend(site: Site) -> Iterator[TestClient]:
    place = ROOT / "docs/examples/label_studio/backend.py"
    spec = importlib.util.spec_from_file_location("label_studio_backend", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with answering(Studio) as url:
        settings = {
            "PERENNIAL_URL": site.url,
            "PERENNIAL_KEY": KEY,
            "PERENNIAL_MODEL": "demo",
            "PERENNIAL_DATASET": "annotated",
            "LABEL_STUDIO_URL": url,
            "LABEL_STUDIO_API_KEY": TOKEN.removeprefix("Token "),
            "BASIC_AUTH_USER": "studio",
            "BASIC_AUTH_PASS": "secret",
        }
        with TestClient(module.create_app(settings)) as client:
            client.auth = ("studio", "secret")
            yield client


def task(number: int, photo: str | None = None) -> dict[str, Any]:
    """The fields of a Label Studio task that the client reads."""
    return {"id": number, "data": {"photo": photo or f"/data/upload/1/{number}.png"}}


def event(action: str, number: int, *choices: str) -> dict[str, Any]:
    """The fields of a Label Studio webhook's annotation event that the client reads."""
    result = {"from_name": "what", "value": {"choices": list(choices)}}
    return {
        "action": action,
        "annotation": {"id": number, "result": [result]},
        "project": {"id": 1, "label_config": LABEL_CONFIG},
        "task": task(number),
    }


def test_label_studio_connects(backend: TestClient) -> None:
    assert backend.get("/health").json() == {"status": "UP", "model_class": "Perennial"}
    found = backend.post("/setup", json={"schema": LABEL_CONFIG})
    assert found.json() == {"model_version": "demo:1"}
    refused = backend.post("/setup", json={"schema": "<View/>"})
    assert (refused.status_code, "no Choices" in refused.text) == (400, True)
    assert backend.get("/health", auth=("studio", "guess")).status_code == 401


def test_images_get_predictions_in_the_order_of_the_tasks(backend: TestClient) -> None:
    elsewhere = task(2, "https://elsewhere.example/2.png")
    asked = {"tasks": [task(1), task(99), elsewhere, task(3)], "label_config": LABEL_CONFIG}
    answer = backend.post("/predict", json=asked)
    assert answer.status_code == 200, answer.text
    first, gone, foreign, last = answer.json()["results"]
    assert first == last
    (result,) = first["result"]
    assert (result["from_name"], result["to_name"], result["type"]) == ("what", "image", "choices")
    assert result["value"] == {"choices": ["boot"]}
    assert (first["score"], first["model_version"]) == (0.5, "demo:1")
    assert (gone["result"], foreign["result"]) == ([], [])
    assert answer.json()["model_version"] == "demo:1"


def test_what_is_annotated_is_learned(site: Site, backend: TestClient) -> None:
    def send(body: dict[str, Any]) -> Any:
        answer = backend.post("/webhook", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    for number in PICTURES:
        created = event("ANNOTATION_CREATED", number, ("boot", "bag")[number % 2])
        assert send(created)["outcome"] == "created"
    assert send(event("ANNOTATION_UPDATED", 0, "bag"))["outcome"] == "moved"
    assert send(event("ANNOTATION_UPDATED", 0, "boot"))["outcome"] == "moved"
    assert send(event("ANNOTATION_UPDATED", 0, "boot", "bag"))["outcome"] == "ignored"
    assert send(event("ANNOTATION_DELETED", 0, "boot"))["outcome"] == "ignored"
    training = {"action": "START_TRAINING", "project": {"id": 1, "label_config": LABEL_CONFIG}}
    first, second = send(training), send(training)
    assert first["job"] == second["job"]
    job = site.client.jobs.wait(first["job"])
    assert (job["status"], job["recipe"] is None) == ("succeeded", False)
    version = site.client.versions.get("demo", job["result"]["version"])
    assert sorted(version["update_classes"]) == ["bag", "boot"]
    assert site.client.aliases.get("demo")["version"] == 1  # somebody promotes it
    wrong = backend.post("/webhook", json={"action": "ANNOTATION_CREATED"})
    assert (wrong.status_code, "'project'" in wrong.text) == (400, True)
