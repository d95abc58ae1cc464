"""A model that cannot be taught says so when it is named, not when its import runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from tests.support.api.orders import a_dataset, update
from tests.support.api.seeds import a_root
from tests.support.api.service import Service, code_of, running, settings_of


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Where the service may read bases from."""
    path = tmp_path / "bases"
    path.mkdir()
    return path


@pytest.fixture
def settings(home: Path, folders: Path) -> Settings:
    return settings_of(home, root_folders=(folders,))


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    with running(settings) as found:
        yield found


REFUSED = [
    ("ViT-B-16-SigLIP:webli", "model_not_trainable", "tokenizer 'timm/ViT-B-16-SigLIP'"),
    ("roberta-ViT-B-32:laion2b_s12b_b32k", "model_not_trainable", "'roberta-base'"),
    ("coca_ViT-B-32:laion2b_s13b_b90k", "model_not_trainable", "caption decoder"),
    ("ViT-Z-99:openai", "base_unknown", "'ViT-Z-99'"),
    ("ViT-B-32:no-such-tag", "base_unknown", "it has: openai, laion400m_e31,"),
    ("ViT-B-16-plus:openai", "base_unknown", "it has: none"),
]


def test_an_architecture_that_cannot_be_taught_is_refused_by_name(service: Service) -> None:
    for base, code, words in REFUSED:
        with service.untouched():
            answer = service.client.post("/v1/models", json={"name": "x", "base": base})
        assert code_of(answer) == (422, code), base
        assert words in answer.json()["detail"]
        assert answer.json()["errors"][0]["pointer"] == "/base"


def test_other_towers_are_taken_by_name(service: Service) -> None:
    bases = "RN50:openai", "convnext_base:laion400m_s13b_b51k", "ViT-B-32:LAION2B-s34b-b79k"
    for number, base in enumerate(bases):
        body = {"name": f"x{number}", "base": base}
        assert service.client.post("/v1/models", json=body).status_code == 202, base


CONFIGS = [
    (json.dumps({"model_cfg": {"multimodal_cfg": {}}}), 422, "model_not_trainable"),
    (json.dumps({"model_cfg": {"text_cfg": {"pool_type": "none"}}}), 422, "model_not_trainable"),
    (json.dumps({"preprocess_cfg": {}}), 422, "base_unknown"),
    ("[]", 422, "base_unknown"),
    ("{", 422, "base_unknown"),
    (json.dumps({"model_cfg": {"vision_cfg": {}, "text_cfg": {}}}), 202, None),
    (None, 422, "base_unknown"),
]


def test_a_folder_is_judged_by_its_config(service: Service, folders: Path) -> None:
    for number, (text, status, code) in enumerate(CONFIGS):
        base = folders / f"clip-{number}"
        if text is not None:
            base.mkdir()
            (base / "open_clip_config.json").write_text(text)
            (base / "open_clip_model.safetensors").touch()
        body = {"name": f"x{number}", "base": f"local-dir:{base}"}
        answer = service.client.post("/v1/models", json=body)
        assert answer.status_code == status
        if code is not None:
            assert code_of(answer) == (status, code), text
            assert answer.json()["errors"][0]["pointer"] == "/base"


def test_a_folder_without_its_config_or_its_weights_is_refused(
    service: Service, folders: Path
) -> None:
    for name in ("open_clip_model.safetensors", "open_clip_config.json"):
        base = folders / name.partition(".")[0]
        base.mkdir()
        (base / name).write_text(json.dumps({"model_cfg": {"vision_cfg": {}, "text_cfg": {}}}))
        with service.untouched():
            answer = service.client.post("/v1/models", json={"name": "x", "base": str(base)})
        assert code_of(answer) == (422, "base_unknown")
        assert answer.json()["errors"][0]["pointer"] == "/base"


def test_pickled_weights_are_refused(service: Service, folders: Path) -> None:
    config = {"model_cfg": {"vision_cfg": {}, "text_cfg": {}}}
    (folders / "open_clip_config.json").write_text(json.dumps(config))
    (folders / "open_clip_pytorch_model.bin").touch()
    with service.untouched():
        answer = service.client.post("/v1/models", json={"name": "x", "base": str(folders)})
    assert code_of(answer) == (415, "weights_format")
    assert answer.json()["errors"][0]["pointer"] == "/base"


def test_a_folder_that_the_system_cannot_open_is_refused(service: Service, folders: Path) -> None:
    (folders / "loop").symlink_to("loop")
    for name in ["n" * 300, "loop/clip"]:
        with service.untouched():
            answer = service.client.post(
                "/v1/models", json={"name": "x", "base": f"{folders}/{name}"}
            )
        assert code_of(answer) == (422, "base_unknown"), name[:9]
        assert answer.json()["errors"][0]["pointer"] == "/base"


def test_a_root_folder_of_another_machine_is_left_to_its_worker(
    service: Service, folders: Path
) -> None:
    folders.rmdir()
    body = {"name": "x", "base": str(folders / "clip")}
    assert service.client.post("/v1/models", json=body).status_code == 202


def test_an_update_of_an_untrainable_version_is_refused_when_ordered(service: Service) -> None:
    a_root(service.platform, model_cfg={"multimodal_cfg": {}})
    a_dataset(service, "products", boot=0, bag=3)
    with service.untouched():
        answer = service.client.post("/v1/jobs", json=update())
    assert code_of(answer) == (422, "model_not_trainable")
    assert answer.json()["errors"][0]["pointer"] == "/model"


@pytest.mark.parametrize(
    ("recipe", "model_cfg"),
    [
        ({"gradient_checkpointing": True}, {"vision_cfg": {"layers": [3, 4, 6, 3]}}),
        ({"sentence_length": 33}, {"text_cfg": {"context_length": 32}}),
    ],
)
def test_a_recipe_that_the_architecture_cannot_follow_is_refused(
    service: Service, recipe: dict[str, Any], model_cfg: dict[str, Any]
) -> None:
    a_root(service.platform, model_cfg=model_cfg)
    a_dataset(service, "products", boot=0, bag=3)
    with service.untouched():
        answer = service.client.post("/v1/jobs", json=update(recipe=recipe))
    assert code_of(answer) == (422, "model_not_trainable")
    assert answer.json()["errors"][0]["pointer"] == f"/recipe/{next(iter(recipe))}"
    assert service.client.post("/v1/jobs", json=update()).status_code == 202


def test_a_preset_is_a_recipe(service: Service) -> None:
    a_root(service.platform)
    a_dataset(service, "products", boot=0, bag=3)
    recipe = {"preset": "released", "epochs": 2}
    made = service.client.post("/v1/jobs", json=update(recipe=recipe)).json()["recipe"]
    assert (made["learning_rate"], made["unit_gradient"], made["epochs"]) == (1e-6, True, 2)
    with service.untouched():
        answer = service.client.post("/v1/jobs", json=update(recipe={"preset": "best"}))
    assert code_of(answer) == (422, "recipe_invalid")
    assert answer.json()["errors"][0]["pointer"] == "/recipe/preset"
