"""Erasures as clients see them: what is taken back, what answers change, and the certificate."""

from typing import Any

from core.datasets.manifests import Side
from tests.support.api.image_files import pictures_on
from tests.support.api.orders import update
from tests.support.api.service import Service, code_of
from tests.support.scene import Scene

ERASURES, PRODUCTS = "/v1/erasures", "/v1/datasets/products"


def order(pixels: str, **changes: Any) -> dict[str, Any]:
    return {"images": [pixels], "reason": "asked for", **changes}


def test_an_image_is_erased_and_what_learned_from_it_is_replaced(ready: Service) -> None:
    client, scene = ready.client, Scene(ready.platform.transactions, ready.platform.artifacts)
    pixels = client.get(f"{PRODUCTS}/images?class=boot").json()["data"][0]["pixels"]
    assert client.post("/v1/jobs", json=update()).status_code == 202
    scene.run()
    key = {"Idempotency-Key": "once"}
    ordered = client.post(ERASURES, json=order(pixels), headers=key)
    assert (ordered.status_code, ordered.json()["status"]) == (202, "erasing")
    here = ordered.headers["location"]
    again = client.post(ERASURES, json=order(pixels), headers=key).json()
    assert here == f"{ERASURES}/{again['id']}"
    pending = client.get(f"{here}/certificate")
    assert code_of(pending) == (409, "erasure_pending")
    assert pending.json()["retryable"]

    scene.run()
    view = client.get(here).json()
    assert view["status"] == "retraining"
    assert [one["learned"] for one in view["versions"]] == ["taught"]
    refused = client.get(f"{PRODUCTS}/images/{pixels}")
    assert code_of(refused) == (404, "image_not_found")
    files = [("boot", ("0.png", data)) for data in pictures_on(Side.TRAIN, 3)]
    receipts = client.post(f"{PRODUCTS}/images", files=files).json()["data"]
    codes = [one["error"] and one["error"]["code"] for one in receipts]
    assert sorted(codes, key=str) == [None, None, "image_erased"]
    versions = client.get(f"{PRODUCTS}/versions").json()["data"]
    assert [one["replaced_by"] for one in versions] == [2, None]
    refused = client.post("/v1/jobs", json=update(parent=1))
    assert code_of(refused) == (409, "dataset_version_replaced")
    refused = client.post("/v1/jobs", json=update(dataset_version=2, parent=2))
    assert code_of(refused) == (409, "learned_erased_images")
    production = "/v1/models/demo/aliases/production"
    promotion = {"version": 2, "reason": "for now"}
    refused = client.put(production, json=promotion, headers={"If-Match": "*"})
    assert code_of(refused) == (409, "learned_erased_images")

    scene.run()
    assert client.get(here).json()["status"] == "done"
    marked, replacing = (client.get(f"/v1/models/demo/versions/{n}").json() for n in (2, 3))
    assert (marked["erasure"], marked["links"]["erasure"]) == (again["id"], here)
    assert (replacing["erasure"], replacing["replaces"]) == (None, 2)
    proof = client.get(f"{here}/certificate").json()
    (version,) = proof["versions"]
    assert (version["digest"], version["digest_after"]) == (marked["digest"], replacing["digest"])
    assert proof["images"][0]["in_store"] is False
    assert {"downloads", "back_ups"} <= {one["where"] for one in proof["remains"]}
    (listed,) = client.get(ERASURES).json()["data"]
    assert listed == client.get(here).json()
    updates = client.get(listed["links"]["updates"]).json()["data"]
    assert [one["status"] for one in updates] == ["succeeded"]


def test_what_cannot_be_erased_is_refused(ready: Service) -> None:
    with ready.untouched():
        unknown = ready.client.post(ERASURES, json=order("0" * 64))
        assert code_of(unknown) == (404, "image_not_found")
        for body in (order("x"), order("0" * 64, retrain="some"), order("0" * 64, reason=" ")):
            assert code_of(ready.client.post(ERASURES, json=body)) == (422, "field_invalid"), body
    for path in ("", "/certificate"):
        missing = ready.client.get(f"{ERASURES}/era_1{path}")
        assert code_of(missing) == (404, "erasure_not_found")
