"""Erasures as clients see them: what is taken back, what answers change, and the certificate."""

from typing import Any

from httpx import Response

from core.datasets.manifests import Side
from core.principal import Role
from tests.support.api.browsing import browser_of
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

    promoted = {"version": 2, "reason": "for now", "override": True}
    client.put(production, json=promoted, headers={"If-Match": "*"})
    wait = "Wait for the job that makes what replaces it."
    for step in (wait, "Promote version 3, which replaces it."):
        told = client.get("/v1/models/demo/versions/2").json()["next_step"]
        assert told.startswith(step)
        listed = client.get("/v1/models/demo/versions").json()["data"]
        assert [one["next_step"] for one in listed[:2]] == [None, told]
        assert [one["next_step"] for one in client.get(here).json()["aliases"]] == [told]
        for page in ("", "/models/demo", "/models/demo/versions/2"):
            text = browser_of(ready, Role.VIEWER).get(f"/ui{page}").text
            assert "Version 2 learned from images that were erased since" in text, page
            assert (told in text, "It may go live" in text) == (True, False), page
        report = browser_of(ready, Role.VIEWER).get("/ui/models/demo/versions/2/report").text
        assert ("It may not go live" in report, 'class="verdict passed"' in report) == (True, False)
        if step.startswith("Wait"):
            scene.run()
    assert client.get(here).json()["status"] == "live"
    operator = browser_of(ready, Role.OPERATOR)
    offered = "/ui/models/demo/aliases/production/promotion?version=3"
    assert offered in operator.get("/ui").text
    moved = client.put(production, json={"version": 3, "reason": "x"}, headers={"If-Match": "*"})
    assert moved.status_code == 200
    assert client.get("/v1/models/demo/versions/2").json()["next_step"] is None
    assert client.get(here).json()["status"] == "done"
    assert "learned from images" not in operator.get("/ui").text
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


def test_an_alias_that_was_moved_by_hand_is_told_what_lets_its_replacement_go_live(
    ready: Service,
) -> None:
    client, scene = ready.client, Scene(ready.platform.transactions, ready.platform.artifacts)
    pixels = client.get(f"{PRODUCTS}/images?class=boot").json()["data"][0]["pixels"]
    client.post("/v1/jobs", json=update())
    scene.run()
    here = client.post(ERASURES, json=order(pixels)).headers["location"]
    scene.run()  # erases
    scene.run()  # trains version 3, which is scored beside what is live: the root
    staging, by_hand = "/v1/models/demo/aliases/staging", {"version": 2, "reason": "for now"}
    client.put(staging, json=by_hand | {"override": True}, headers={"If-None-Match": "*"})

    def told() -> list[str]:
        steps = [one["next_step"] for one in client.get(here).json()["aliases"]]
        assert client.get("/v1/models/demo/versions/2").json()["next_step"] == steps[0]
        return steps

    def promoted() -> Response:
        wanted, any_revision = {"version": 3, "reason": "x"}, {"If-Match": "*"}
        return client.put(staging, json=wanted, headers=any_revision)

    assert told() == [
        "Score version 3, which replaces it, beside what is live as staging: `perennial evaluate "
        "demo:3 --alias staging --wait`. Then promote it."
    ]
    refused = promoted()
    assert code_of(refused) == (409, "evaluation_stale")
    scored = client.post("/v1/jobs", json=refused.json()["facts"]["score_again"])
    assert scored.status_code == 202
    scene.run()
    assert told() == ["Promote version 3, which replaces it."]
    assert promoted().status_code == 200


def test_captions_of_an_erased_image_are_shown_to_nobody(ready: Service) -> None:
    client, scene = ready.client, Scene(ready.platform.transactions, ready.platform.artifacts)
    album, caption = "/v1/datasets/album", "Ann, at home in Elm Street"
    client.post("/v1/datasets", json={"name": "album", "kind": "captioned"})
    hers, other = pictures_on(Side.TRAIN, 2)
    files = [(caption, ("0.png", hers)), ("a tree", ("1.png", other))]
    receipts = client.post(f"{album}/images", files=files).json()["data"]
    client.post(f"{album}/versions", json={})
    client.post(ERASURES, json=order(receipts[0]["pixels"]))
    scene.run()
    images = client.get(f"{album}/versions/1/images").json()["data"]
    texts = {one["pixels"]: one["texts"] for one in images}
    assert texts == {receipts[0]["pixels"]: ["(erased)"], receipts[1]["pixels"]: ["a tree"]}
    (removed,) = client.get(f"{album}/versions/2/diff?against=1").json()["data"]
    assert (removed["change"], removed["before"]) == ("removed", ["(erased)"])
    found = client.get(f"{album}/versions/1/images", params={"class": caption}).json()["data"]
    assert found == []
    viewer = browser_of(ready, Role.VIEWER)
    for page in ("versions/1/images", "versions/2/diff?against=1"):
        text = viewer.get(f"/ui/datasets/album/{page}").text
        assert ("(erased)" in text, "Elm Street" in text) == (True, False), page


def test_a_file_is_told_by_the_digest_that_an_upload_of_it_has(ready: Service) -> None:
    kept = ready.client.get(f"{PRODUCTS}/images?class=boot").json()["data"]
    (image, *_) = pictures_on(Side.TRAIN, 3)
    sent, key = {"images": ("boot.png", image)}, ready.key(Role.OPERATOR)
    with ready.untouched():
        found = ready.client.post(f"{ERASURES}/digests", files=sent).json()["data"]
        assert [one["file"] for one in found] == ["boot.png"]
        assert found[0]["pixels"] in {one["pixels"] for one in kept}
        broken = ready.client.post(f"{ERASURES}/digests", files={"images": ("a.png", b"x")})
        assert code_of(broken) == (415, "unsupported_image")
        assert ready.client.post(f"{ERASURES}/digests", files=sent, headers=key).status_code == 403


def test_what_cannot_be_erased_is_refused(ready: Service) -> None:
    with ready.untouched():
        unknown = ready.client.post(ERASURES, json=order("0" * 64))
        assert code_of(unknown) == (404, "image_not_found")
        for body in (order("x"), order("0" * 64, retrain="some"), order("0" * 64, reason=" ")):
            assert code_of(ready.client.post(ERASURES, json=body)) == (422, "field_invalid"), body
    for path in ("", "/certificate"):
        missing = ready.client.get(f"{ERASURES}/era_1{path}")
        assert code_of(missing) == (404, "erasure_not_found")
