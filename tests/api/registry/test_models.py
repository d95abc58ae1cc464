"""Models, suites and policies."""

from typing import Any

from sqlalchemy import update

from core.database.tables import versions
from core.datasets.freeze import read_manifest
from core.datasets.manifests import Part, Side
from core.datasets.version_rows import Suites
from core.gate.rules import LIMITS
from core.principal import Role
from core.recipes.fields import DEFAULT_PROMPT
from tests.support.api.browsing import browser_of
from tests.support.api.image_files import picture, pictures_on
from tests.support.api.orders import frozen
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service, code_of


def a_suite(service: Service, name: str, seed: int) -> dict[str, Any]:
    frozen(service, name, ("cat", picture(seed)))
    body = {"name": name, "kind": "zero_shot", "dataset": name, "dataset_version": 1}
    answer = service.client.post("/v1/suites", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


REFUSED = [
    ({"name": "demo"}, 409, "name_taken"),
    ({"name": "De mo"}, 422, "name_invalid"),
    ({"name": "x", "suites": ["nope"]}, 404, "suite_not_found"),
    ({"name": "x", "policy": "nope"}, 404, "policy_not_found"),
    ({"name": "x", "base": "local-dir:/etc"}, 422, "base_unknown"),
    ({"name": "x", "weights": "/etc/passwd"}, 422, "field_unknown"),
]


def test_a_model_that_cannot_be_made(service: Service) -> None:
    a_root(service.platform, "demo")
    for body, status, code in REFUSED:
        with service.untouched():
            assert code_of(service.client.post("/v1/models", json=body)) == (status, code), body


def test_suites_and_policy_are_chosen_later(service: Service) -> None:
    a_root(service.platform)
    a_suite(service, "emoji", 1)
    limits = {
        "line_error": 0.05,
        "line_updates": 40,
        "negative_flips": 0.03,
        "same_names": [["bag", "handbag"]],
    }
    policy = {"name": "small-model", "parent_tolerance": 0.06, "reason": "it is small"} | limits
    made = service.client.post("/v1/gate-policies", json=policy)
    assert (made.status_code, made.json()["root_tolerance"]) == (201, 0.05)
    assert policy.items() <= made.json().items()
    assert service.client.get("/v1/gate-policies/small-model").json() == made.json()
    change = {"suites": ["emoji"], "policy": "small-model"}
    with service.untouched():
        answer = service.client.patch("/v1/models/demo", json=change | {"reason": " "})
    assert answer.json()["detail"] == (
        "Another policy requires a reason: it is kept in the audit log."
    )
    change["reason"] = "it forgets faces"
    model = service.client.patch("/v1/models/demo", json=change).json()
    assert (model["suites"], model["policy"]) == (["emoji"], "small-model")
    with service.untouched():
        refused = service.client.patch("/v1/models/demo", json={"suites": []})
    assert code_of(refused) == (422, "field_invalid")
    emptied = {"suites": [], "reason": "it is of last year"}
    model = service.client.patch("/v1/models/demo", json=emptied).json()
    assert (model["suites"], model["policy"]) == ([], "small-model")
    with service.untouched():
        answer = service.client.patch("/v1/models/demo", json={"policy": "nope"})
    assert code_of(answer) == (404, "policy_not_found")


def test_every_number_of_a_policy_can_be_set_within_its_bounds(service: Service) -> None:
    for field in LIMITS:
        with service.untouched():
            answer = service.client.post("/v1/gate-policies", json={"name": "p", field: -1})
        assert code_of(answer) == (422, "field_invalid"), field
        assert answer.json()["errors"][0]["pointer"] == f"/{field}"
    with service.untouched():
        silent = service.client.post("/v1/gate-policies", json={"name": "p", "reason": "\t"})
    assert code_of(silent) == (422, "field_invalid")
    assert silent.json()["errors"][0]["pointer"] == "/reason"
    given = {"name": "widest", "reason": "a test"} | {
        field: limit.high for field, limit in LIMITS.items()
    }
    made = service.client.post("/v1/gate-policies", json=given)
    assert made.status_code == 201, made.text
    found = service.client.get("/v1/gate-policies/widest").json()
    assert found.items() >= given.items()


def test_names_that_mean_the_same_are_pairs_of_two_names(service: Service) -> None:
    for pairs, code, pointer in (
        ([["bag"]], "field_invalid", "/same_names/0"),
        ([["bag", "handbag", "purse"]], "field_invalid", "/same_names/0"),
        ([["bag", "handbag"]] * 101, "field_invalid", "/same_names"),
        ([["bag", "handbag"], ["Hat", " hat "]], "field_invalid", "/same_names/1"),
        ([["bag", " "]], "class_invalid", None),
    ):
        with service.untouched():
            body = {"name": "p", "same_names": pairs}
            answer = service.client.post("/v1/gate-policies", json=body)
        assert code_of(answer) == (422, code), pairs
        if pointer:
            assert answer.json()["errors"][0]["pointer"] == pointer
    body = {"name": "p", "same_names": [[" bag ", "handbag"]], "reason": "they are"}
    made = service.client.post("/v1/gate-policies", json=body)
    assert made.json()["same_names"] == [["bag", "handbag"]]


def test_a_suite_is_made_once_and_never_edited(service: Service) -> None:
    suite = a_suite(service, "emoji", 1)
    assert service.client.get("/v1/suites/emoji").json() == suite
    assert service.client.get(f"/v1/suites/{suite['id']}").json() == suite
    assert service.client.get("/v1/suites").json()["data"] == [suite]
    body = {"name": "emoji", "kind": "zero_shot", "dataset": "emoji", "dataset_version": 1}
    with service.untouched():
        assert code_of(service.client.post("/v1/suites", json=body)) == (409, "name_taken")
        kind = service.client.post("/v1/suites", json=body | {"name": "b", "kind": "retrieval"})
        prompt = service.client.post("/v1/suites", json=body | {"name": "b", "prompt": "x"})
        version = service.client.post("/v1/suites", json=body | {"name": "b", "dataset_version": 9})
    assert suite["mirror"] is False
    service.client.post("/v1/datasets", json={"name": "talk", "kind": "captioned"})
    captioned = {"name": "b", "kind": "retrieval", "dataset": "talk", "mirror": True}
    with service.untouched():
        refused = service.client.post("/v1/suites", json=captioned)
    assert (code_of(refused), refused.json()["errors"][0]["pointer"]) == (
        (422, "field_invalid"),
        "/mirror",
    )
    mirrored = service.client.post("/v1/suites", json=body | {"name": "mirrored", "mirror": True})
    assert mirrored.json()["mirror"] is True
    assert service.client.get("/v1/suites/mirrored").json() == mirrored.json()
    assert code_of(kind) == (422, "field_invalid")
    assert code_of(prompt) == (422, "prompt_invalid")
    assert code_of(version) == (404, "dataset_version_not_found")
    for name, code in (("suites", "suite_not_found"), ("gate-policies", "policy_not_found")):
        assert code_of(service.client.get(f"/v1/{name}/x")) == (404, code)


def test_a_suite_grows_by_editions_that_an_admin_makes(service: Service) -> None:
    suite = a_suite(service, "emoji", 1)
    classes = suite["classes"]
    frozen(service, "more", (classes[0], picture(70)), (classes[0], picture(71)))
    frozen(service, "other", ("zebra", picture(72)))
    service.client.patch("/v1/models/demo", json={"suites": ["emoji"]})
    body, path = {"dataset": "more", "dataset_version": 1}, "/v1/suites/emoji/images"
    body |= {"reason": "too few"}
    keys = [service.key(role) for role in (Role.CONTRIBUTOR, Role.OPERATOR)]
    with service.untouched():
        for key in keys:
            refused = service.client.post(path, json=body, headers=key)
            assert code_of(refused) == (403, "forbidden")
        for wrong, code in (
            ({"dataset": "other"}, (422, "field_invalid")),
            ({"reason": ""}, (422, "field_invalid")),
            ({"dataset": "none"}, (404, "dataset_not_found")),
            ({"dataset_version": 7}, (404, "dataset_version_not_found")),
        ):
            assert code_of(service.client.post(path, json=body | wrong)) == code
        nowhere = service.client.post("/v1/suites/none/images", json=body)
        assert code_of(nowhere) == (404, "suite_not_found")
    grown = service.client.post(path, json=body).json()
    assert (grown["edition"], grown["images"]) == (2, suite["images"] + 2)
    assert service.client.get("/v1/suites/emoji").json() == grown
    earlier = service.client.get(f"/v1/suites/{suite['id']}").json()
    assert earlier == suite | {"grown_into": grown["id"]}
    assert service.client.get("/v1/suites").json()["data"] == [grown]
    assert code_of(service.client.post(path, json=body)) == (422, "field_invalid")


def test_an_admin_adds_test_images_to_the_holdout_of_an_update(service: Service) -> None:
    a_candidate(service.platform, a_root(service.platform, "taught"), teaches=("cat",))
    frozen(service, "tests", ("cat", picture(81)), ("Cat", picture(82)))
    path = "/v1/models/taught/versions/{}/holdout/images"
    body = {"dataset": "tests", "dataset_version": 1, "reason": "too few"}
    keys = [service.key(role, "taught") for role in (Role.CONTRIBUTOR, Role.OPERATOR)]
    with service.untouched():
        for key in keys:
            refused = service.client.post(path.format(2), json=body, headers=key)
            assert code_of(refused) == (403, "forbidden")
        for number, reason in ((1, "too few"), (2, " ")):
            wrong = service.client.post(path.format(number), json=body | {"reason": reason})
            assert code_of(wrong) == (422, "field_invalid")
        assert code_of(service.client.post(path.format(9), json=body)) == (404, "version_not_found")
    grown = service.client.post(path.format(2), json=body).json()
    assert (grown["name"], grown["edition"], grown["images"]) == ("holdout of taught:2", 2, 2)
    assert service.client.get("/v1/suites").json()["data"] == []
    a_root(service.platform, "another")
    for name in (grown["id"], grown["name"]):
        seen = service.client.get(f"/v1/suites/{name}", headers=service.key(Role.VIEWER, "taught"))
        assert seen.json() == grown
        hidden = service.key(Role.VIEWER, "another")
        refused = service.client.get(f"/v1/suites/{name}", headers=hidden)
        assert code_of(refused) == (404, "suite_not_found")
        refused = service.client.delete(f"/v1/suites/{name}")
        assert code_of(refused) == (404, "suite_not_found")


def test_pages_add_images_with_a_reason_and_count_test_images(service: Service) -> None:
    model = a_root(service.platform, "taught")
    a_candidate(service.platform, model, teaches=("cat",))
    (held,) = pictures_on(Side.HOLDOUT, 1)
    pixels = [picture(90 + seed) for seed in range(10)]
    suite = a_suite(service, "emoji", 89)
    frozen(service, "more", *(("cat", one) for one in pixels))
    frozen(service, "tests", ("cat", held))
    admin = browser_of(service, Role.ADMIN)
    holdout = "/ui/models/taught/versions/2"
    for page, back, data in (
        (f"/ui/suites/{suite['id']}/images", "/ui/suites", "more"),
        (f"{holdout}/holdout/images", holdout, "tests"),
    ):
        assert admin.get(page).status_code == 200
        with service.untouched():
            silent = admin.send(page, dataset=data, reason=" ")
        wrong = admin.send(page, dataset="none", reason="too few")
        assert (silent.status_code, "Enter a reason" in silent.text) == (422, True)
        assert (wrong.status_code, ">too few</textarea>" in wrong.text) == (404, True)
        assert admin.send(page, dataset=data, reason="too few").headers["location"] == back
    with service.platform.transactions(read_only=True) as work:
        (added,) = work[Suites].held_out(model.id).values()
        manifest = read_manifest(service.platform.artifacts, work[Suites].newest("emoji").manifest)
    assert admin.get(f"/ui/suites/{added.id}/images").status_code == 404
    tests = sum(entry.part is Part.TEST for entry in manifest.entries)
    assert 0 < tests < len(manifest.entries)
    shown = admin.get(f"/ui/suites/{suite['id']}/images").text
    assert f"There are {tests} test images now" in shown
    assert "images added to the holdout of version 2" in admin.get("/ui/models/taught/policy").text


def test_a_suite_without_a_version_freezes_the_dataset_or_nothing(service: Service) -> None:
    (learned,) = pictures_on(Side.TRAIN, 1)
    frozen(service, "lessons", ("cat", learned))
    a_suite(service, "taken", 1)
    for name, data in (("shelf", picture(2)), ("mixed", learned)):
        service.client.post("/v1/datasets", json={"name": name, "kind": "labelled"})
        files = [("cat", ("0.png", data))]
        sent = service.client.post(f"/v1/datasets/{name}/images", files=files)
        assert sent.status_code == 200
    service.client.post("/v1/datasets", json={"name": "empty", "kind": "labelled"})
    body = {"name": "shelf", "kind": "zero_shot", "dataset": "shelf"}
    with service.untouched():
        for wrong, code in (
            ({"name": "taken"}, "name_taken"),
            ({"name": "-"}, "name_invalid"),
            ({"prompt": "x"}, "prompt_invalid"),
            ({"kind": "retrieval"}, "field_invalid"),
            ({"dataset": "mixed"}, "image_in_training"),
            ({"dataset": "empty"}, "dataset_empty"),
        ):
            assert code_of(service.client.post("/v1/suites", json=body | wrong))[1] == code
    for name in ("shelf", "again"):
        made = service.client.post("/v1/suites", json=body | {"name": name})
        assert made.status_code == 201, made.text
        assert len(service.client.get("/v1/datasets/shelf/versions").json()["data"]) == 1


def test_a_suite_asks_by_default_with_the_prompt_that_all_models_have(service: Service) -> None:
    def asked_with(name: str, seed: int) -> object:
        return a_suite(service, name, seed)["prompt"]

    theirs = "this is a photo of {name} ."
    assert asked_with("none", 1) == DEFAULT_PROMPT.text
    model = a_root(service.platform)
    with service.platform.transactions() as work:
        work.connection.execute(update(versions).values(prompt=theirs))
        work.commit()
    assert asked_with("one", 2) == theirs
    page = "/ui/datasets/one/versions/1/suite"
    assert f'value="{theirs}"' in browser_of(service, Role.OPERATOR).get(page).text
    a_root(service.platform, "other")
    assert asked_with("two", 3) == DEFAULT_PROMPT.text
    limited = browser_of(service, Role.OPERATOR, model.name).get(page).text
    assert f'value="{theirs}"' in limited  # nothing is told of models that its key may not see
