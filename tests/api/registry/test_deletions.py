"""DELETE of models, versions, aliases, datasets and dataset versions; what stands in the way."""

import pytest

from core.gate.rules import Verdict
from core.principal import Role
from tests.support.api.browsing import browser_of
from tests.support.api.image_files import picture
from tests.support.api.orders import a_dataset, update
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service, code_of

MODEL = "/v1/models/demo"

PRODUCTION = f"{MODEL}/aliases/production"


def test_a_version_is_deleted_and_its_number_is_not_given_again(service: Service) -> None:
    model = a_root(service.platform)
    a_candidate(service.platform, model)
    a_candidate(service.platform, model, parent=2)
    refused = service.client.delete(f"{MODEL}/versions/2")
    assert code_of(refused) == (409, "in_use")
    assert refused.json()["facts"] == {"descendants": [3]}
    for number in (3, 2):
        answer = service.client.delete(f"{MODEL}/versions/{number}")
        assert (answer.status_code, answer.content) == (204, b"")
    gone = service.client.get(f"{MODEL}/versions/3/download")
    assert code_of(gone) == (404, "version_not_found")
    assert gone.json()["detail"] == "Version 3 was deleted."
    assert a_candidate(service.platform, model).number == 4
    assert code_of(service.client.delete(f"{MODEL}/versions/1")) == (409, "in_use")


@pytest.mark.parametrize("counts", ["was live", "failed"])
def test_a_version_that_others_count_on_is_deleted_with_a_reason(
    service: Service, counts: str
) -> None:
    model = a_root(service.platform)
    verdict = Verdict.FAILED if counts == "failed" else Verdict.PASSED
    a_candidate(service.platform, model, verdict=verdict)
    if counts == "was live":
        up = {"version": 2, "reason": "up"}
        service.client.put(PRODUCTION, json=up, headers={"If-Match": '"1"'})
        service.client.post(f"{PRODUCTION}/rollback", json={"reason": "down"})
    where, page = f"{MODEL}/versions/2", "/ui/models/demo/versions/2/deletion"
    admin = browser_of(service, Role.ADMIN)
    with service.untouched():
        for reason in ("", "?reason=%20%20", "?reason=%E2%80%8B"):  # a zero-width space
            refused = service.client.delete(where + reason)
            assert code_of(refused) == (422, "field_invalid")
            assert refused.json()["detail"] == (
                "Deleting version 2, which was live or has a failed verdict, requires a reason: "
                "it is kept in the audit log."
            )
        assert admin.send(page).status_code == 422
    assert 'name="reason"' in admin.get(page).text
    assert admin.send(page, reason="taught by mistake").status_code == 303
    (event, *_) = service.client.get("/v1/audit-events").json()["data"]
    assert (event["action"], event["reason"]) == ("version.deleted", "taught by mistake")
    shown = browser_of(service, Role.VIEWER).get("/ui/models/demo/policy").text
    assert "version 2 deleted" in shown
    assert "taught by mistake" in shown


def test_a_model_that_was_taught_is_deleted_with_a_reason(service: Service) -> None:
    """Else whoever deletes it could give its name to weights that no verdict has passed."""
    a_candidate(service.platform, a_root(service.platform))
    admin, page = browser_of(service, Role.ADMIN), "/ui/models/demo/deletion"
    assert 'name="reason"' in admin.get(page).text
    with service.untouched():
        assert code_of(service.client.delete(MODEL)) == (422, "field_invalid")
        assert admin.send(page, reason=" ").status_code == 422
    assert admin.send(page, reason="replaced by shop").status_code == 303
    (event, *_) = service.client.get("/v1/audit-events").json()["data"]
    assert (event["action"], event["reason"]) == ("model.deleted", "replaced by shop")
    a_root(service.platform)
    assert service.client.delete(MODEL).status_code == 204


def test_an_alias_is_deleted_as_it_was_seen_and_its_history_stays(service: Service) -> None:
    a_root(service.platform)
    with service.untouched():
        assert code_of(service.client.delete(PRODUCTION)) == (428, "precondition_required")
        stale = service.client.delete(f"{PRODUCTION}?reason=paused", headers={"If-Match": '"2"'})
        assert code_of(stale) == (412, "stale_revision")
        silent = service.client.delete(f"{PRODUCTION}?reason=%20", headers={"If-Match": '"1"'})
        assert code_of(silent) == (422, "field_invalid")
        assert silent.json()["detail"] == (
            "Deleting an alias requires a reason: it is kept in the audit log."
        )
    answer = service.client.delete(f"{PRODUCTION}?reason=paused", headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.content) == (204, b"")
    assert code_of(service.client.get(PRODUCTION)) == (404, "alias_not_found")
    gone = service.client.delete(f"{PRODUCTION}?reason=x", headers={"If-Match": "*"})
    assert code_of(gone) == (404, "alias_not_found")
    last = service.client.get(f"{PRODUCTION}/history").json()["data"][-1]
    told = {name: last[name] for name in ("kind", "from_version", "to_version", "reason")}
    assert told == {"kind": "deleted", "from_version": 1, "to_version": 0, "reason": "paused"}
    made = service.client.put(PRODUCTION, json={"version": 1}, headers={"If-None-Match": "*"})
    assert made.headers["etag"] == '"3"'
    assert code_of(service.client.get(f"{MODEL}/aliases/x/history")) == (404, "alias_not_found")


def test_a_model_is_deleted_with_its_jobs_and_its_name_is_free(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()["id"]
    data = ("/v1/datasets/products", "/v1/datasets/products/versions/1")
    for path in (MODEL, PRODUCTION, *data):
        why = "?reason=old" if path == PRODUCTION else ""
        refused = ready.client.delete(f"{path}{why}", headers={"If-Match": "*"})
        assert code_of(refused) == (409, "in_use"), path
        assert refused.json()["facts"] == {"jobs": [job]}
    ready.client.post(f"/v1/jobs/{job}/cancel")
    assert ready.client.delete("/v1/datasets/products/versions/1").status_code == 204
    again = ready.client.post(f"/v1/jobs/{job}/retry")
    assert code_of(again) == (404, "dataset_version_not_found")
    assert ready.client.delete(MODEL).status_code == 204
    assert code_of(ready.client.get(MODEL)) == (404, "model_not_found")
    assert code_of(ready.client.get(f"/v1/jobs/{job}")) == (404, "job_not_found")
    assert code_of(ready.client.delete(MODEL)) == (404, "model_not_found")
    assert ready.client.post("/v1/models", json={"name": "demo"}).status_code == 202


def test_a_dataset_is_deleted_and_its_name_is_free(service: Service) -> None:
    a_dataset(service, "pets", cat=0)
    suite = {"name": "asked", "kind": "zero_shot", "dataset": "pets", "dataset_version": 1}
    assert service.client.post("/v1/suites", json=suite).status_code == 201
    for path in ("/v1/datasets/pets", "/v1/datasets/pets/versions/1"):
        refused = service.client.delete(path)
        assert (code_of(refused), refused.json()["facts"]) == (
            (409, "in_use"),
            {"suites": ["asked"]},
        )
    a_dataset(service, "more", dog=3)
    service.client.post("/v1/datasets/more/versions")
    assert service.client.delete("/v1/datasets/more/versions/1").status_code == 204
    missing = service.client.get("/v1/datasets/more/versions/1")
    assert code_of(missing) == (404, "dataset_version_not_found")
    assert service.client.post("/v1/datasets/more/versions").json()["number"] == 3
    assert service.client.delete("/v1/datasets/more").status_code == 204
    assert code_of(service.client.get("/v1/datasets/more")) == (404, "dataset_not_found")
    assert service.client.post("/v1/datasets", json={"name": "more"}).status_code == 201


def test_a_contributor_deletes_a_dataset_until_a_version_of_it_is_frozen(service: Service) -> None:
    sender, reader = service.key(Role.CONTRIBUTOR), service.key(Role.VIEWER)
    a_dataset(service, "pets", cat=0)
    service.client.post("/v1/datasets", json={"name": "drafts", "kind": "labelled"})
    sent = [("cat", ("1.png", picture(1)))]
    assert service.client.post("/v1/datasets/drafts/images", files=sent).status_code == 200
    browser = browser_of(service, Role.CONTRIBUTOR)
    with service.untouched():
        for name, key in (("pets", sender), ("drafts", reader)):
            refused = service.client.delete(f"/v1/datasets/{name}", headers=key)
            assert code_of(refused) == (403, "forbidden")
        assert "/ui/datasets/pets/deletion" not in browser.get("/ui/datasets/pets").text
        assert browser.send("/ui/datasets/pets/deletion").status_code == 403
    assert "/ui/datasets/drafts/deletion" in browser.get("/ui/datasets/drafts").text
    assert service.client.delete("/v1/datasets/drafts", headers=sender).status_code == 204
    assert code_of(service.client.get("/v1/datasets/drafts")) == (404, "dataset_not_found")


def test_a_suite_that_judges_nothing_is_retired_and_its_dataset_is_free(ready: Service) -> None:
    a_dataset(ready, "pets", cat=6)
    suite = {"name": "asked", "kind": "zero_shot", "dataset": "pets", "dataset_version": 1}
    made = ready.client.post("/v1/suites", json=suite).json()
    chosen, none = {"suites": ["asked"]}, {"suites": list[str](), "reason": "old"}
    assert ready.client.patch(MODEL, json=chosen).status_code == 200
    job = ready.client.post("/v1/jobs", json=update()).json()["id"]
    where = "/v1/suites/asked"
    for facts in ({"models": ["demo"], "jobs": [job]}, {"jobs": [job]}):
        with ready.untouched():
            refused = ready.client.delete(where)
        assert (code_of(refused), refused.json()["facts"]) == ((409, "in_use"), facts)
        ready.client.patch(MODEL, json=none)
    ready.client.post(f"/v1/jobs/{job}/cancel")
    operator = ready.key(Role.OPERATOR)
    assert code_of(ready.client.delete(where, headers=operator)) == (403, "forbidden")
    taught = update(dataset="pets", recipe={"label_space": "open"})
    assert code_of(ready.client.post("/v1/jobs", json=taught)) == (422, "image_in_suite")
    page = f"/ui/suites/{made['id']}/retire"
    viewer, admin = browser_of(ready, Role.VIEWER), browser_of(ready, Role.ADMIN)
    assert [page in browser.get("/ui/suites").text for browser in (viewer, admin)] == [False, True]
    assert admin.send(page).headers["location"] == "/ui/suites"
    assert page not in admin.get("/ui/suites").text
    with ready.untouched():
        assert ready.client.delete(where).status_code == 204
        assert code_of(ready.client.patch(MODEL, json=chosen)) == (409, "suite_retired")
        other = ready.client.post("/v1/models", json={"name": "other", **chosen})
        assert code_of(other) == (409, "suite_retired")
        assert code_of(ready.client.post("/v1/suites", json=suite)) == (409, "name_taken")
    found = ready.client.get(where).json()
    assert found["retired_at"]
    assert found | {"retired_at": None} == made
    assert code_of(ready.client.post("/v1/jobs", json=taught)) == (422, "too_few_classes")
    assert ready.client.delete("/v1/datasets/pets").status_code == 204
