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


def test_weights_of_other_libraries_are_refused_and_pickled_ones_left_to_the_worker(
    service: Service, folders: Path
) -> None:
    config = {"model_cfg": {"vision_cfg": {}, "text_cfg": {}}}
    (folders / "open_clip_config.json").write_text(json.dumps(config))
    (folders / "tf_model.h5").touch()
    order = {"name": "x", "base": str(folders)}
    with service.untouched():
        answer = service.client.post("/v1/models", json=order)
    assert code_of(answer) == (415, "weights_format")
    assert answer.json()["errors"][0]["pointer"] == "/base"
    (folders / "open_clip_pytorch_model.bin").touch()
    assert service.client.post("/v1/models", json=order).status_code == 202


def test_a_folder_outside_the_root_folders_names_their_setting(service: Service) -> None:
    with service.untouched():
        answer = service.client.post("/v1/models", json={"name": "x", "base": "/srv/clip"})
    assert code_of(answer) == (422, "base_unknown")
    assert "PERENNIAL_ROOT_FOLDERS='[\"/srv\"]'" in answer.json()["detail"]


UNFIT: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"multimodal_cfg": {}}, {}, "/model"),
    (
        {"vision_cfg": {"layers": [3, 4, 6, 3]}},
        {"gradient_checkpointing": True},
        "/recipe/gradient_checkpointing",
    ),
    ({"text_cfg": {"context_length": 32}}, {"sentence_length": 33}, "/recipe/sentence_length"),
]


def test_an_update_that_the_architecture_cannot_follow_is_refused_when_ordered(
    service: Service,
) -> None:
    a_dataset(service, "products", boot=0, bag=3)
    for number, (model_cfg, recipe, pointer) in enumerate(UNFIT):
        a_root(service.platform, f"demo-{number}", model_cfg=model_cfg)
        order = update(model=f"demo-{number}", recipe=recipe)
        with service.untouched():
            answer = service.client.post("/v1/jobs", json=order)
        assert code_of(answer) == (422, "model_not_trainable")
        assert answer.json()["errors"][0]["pointer"] == pointer
