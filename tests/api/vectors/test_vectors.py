"""Vectors and reports on old indexes as clients order, read, download and delete them."""

import io
import json
from typing import Any

import numpy as np
import pytest

from core.datasets.rules import DatasetVersion
from core.registry.versions import Model
from tests.support.api.seeds import a_candidate
from tests.support.api.service import EMBEDDED, Service, code_of
from tests.support.learning.tiny_tools import WIDTH
from tests.support.scene import Scene

pytestmark = EMBEDDED

VERSION = "/v1/models/demo/versions/2"

VECTORS, COMPATIBILITY = f"{VERSION}/vectors", f"{VERSION}/compatibility"


@pytest.fixture
def scene(service: Service) -> Scene:
    """A service's database and store, with a worker whose tools are scripted."""
    return Scene(service.platform.transactions, service.platform.artifacts)


@pytest.fixture
def model(scene: Scene) -> Model:
    """The model `demo` with a root and a second version."""
    model = scene.model()
    a_candidate(scene.platform, model)
    return model


@pytest.fixture
def data(scene: Scene, model: Model) -> DatasetVersion:
    return scene.frozen("cat", "dog", each=50)


def asked(data: DatasetVersion) -> dict[str, Any]:
    return {"dataset": data.dataset, "dataset_version": data.number}


def test_vectors_are_ordered_listed_downloaded_by_range_and_deleted(
    service: Service, scene: Scene, data: DatasetVersion
) -> None:
    ordered = service.client.post(VECTORS, json=asked(data))
    job = ordered.json()
    assert ordered.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["type"], job["vectors"]) == ("reembed", {"version": 2, **asked(data)})
    here = job["links"]["vectors"]
    assert code_of(service.client.get(here)) == (404, "vectors_not_found")
    scene.run()
    ended = service.client.get(job["links"]["self"]).json()
    assert ended["status"] == "succeeded", ended["error"]

    (found,) = service.client.get(VECTORS).json()["data"]
    assert found == service.client.get(here).json()
    same = ("version", "digest", "artifact", "size", "rows", "width")
    assert ended["result"] == {name: found[name] for name in same}
    file = service.client.get(found["links"]["download"])
    rows = np.load(io.BytesIO(file.content))
    assert rows.shape == (200, WIDTH)
    assert 'filename="demo-2-' in file.headers["content-disposition"]
    tag = file.headers["etag"]
    assert tag == f'"{found["artifact"]}"'
    rest = service.client.get(
        found["links"]["download"], headers={"Range": "bytes=100-", "If-Range": tag}
    )
    assert (rest.status_code, rest.content) == (206, file.content[100:])
    held = service.client.get(found["links"]["download"], headers={"If-None-Match": tag})
    assert held.status_code == 304
    lines = service.client.get(found["links"]["images"]).text.splitlines()
    assert len({json.loads(line)["pixels"] for line in lines}) == 200

    assert service.client.delete(here).status_code == 204
    for path in (here, found["links"]["download"], found["links"]["images"]):
        assert code_of(service.client.get(path)) == (404, "vectors_not_found")
    (event, *_) = service.client.get("/v1/audit-events", params={"limit": 1}).json()["data"]
    assert event["action"] == "vectors.deleted"


def test_a_report_on_an_old_index_is_ordered_read_and_its_bridge_downloaded(
    service: Service, scene: Scene, model: Model, data: DatasetVersion
) -> None:
    assert code_of(service.client.post(COMPATIBILITY, json={})) == (409, "suites_too_small")
    scene.suite(model, data, "pets")
    scene.script.embedder.lost = 0.03
    job = service.client.post(COMPATIBILITY, json={}).json()
    assert (job["type"], job["comparison"]) == ("compare_index", {"version": 2, "from": 1})
    scene.run()
    (found,) = service.client.get(COMPATIBILITY).json()["data"]
    assert found == service.client.get(job["links"]["compatibility"]).json()
    assert (found["version"], found["from"], found["verdict"]) == (2, 1, "bridge")
    assert found["reason"].startswith("Map the index by the bridge: recall@10 falls by")
    (search,) = found["searches"]
    assert (search["suite"], search["search"], search["judged"]) == ("pets", "text_to_image", True)
    assert search["bridged_loss"]["lower"] < search["bridged_loss"]["value"] < 0.02
    assert found["vectors"][0]["neighbours_found"] == 0.7
    file = service.client.get(found["links"]["bridge"])
    assert len(file.content) == found["bridge"]["size"]
    assert file.headers["etag"] == f'"{found["bridge"]["artifact"]}"'
    held = {"If-None-Match": file.headers["etag"]}
    assert service.client.get(found["links"]["bridge"], headers=held).status_code == 304


def test_what_is_not_there_is_named(service: Service, data: DatasetVersion) -> None:
    with service.untouched():
        answer = service.client.post(VECTORS, json=asked(data) | {"dataset_version": 2})
    assert code_of(answer) == (404, "dataset_version_not_found")
    missing = service.client.get(f"{COMPATIBILITY}/1")
    assert code_of(missing) == (404, "index_report_not_found")
    for version, named in ((1, None), (2, 2)):
        path = COMPATIBILITY.replace("2", str(version))
        answer = service.client.post(path, json={"from": named})
        assert code_of(answer) == (422, "field_invalid")
        assert answer.json()["errors"][0]["pointer"] == "/from"
    answer = service.client.post(COMPATIBILITY, json={"from": 9})
    assert code_of(answer) == (404, "version_not_found")
