"""A base that makes no model is refused by its name or its folder, before anything is loaded."""

import json
from pathlib import Path

import pytest

from core.bases.bases import require_known_base
from core.bases.folders import weights_files
from core.errors import BaseUnknown, ModelNotTrainable, PerennialError, WeightsFormat
from core.settings import Settings

SOUND = json.dumps({"model_cfg": {"vision_cfg": {}, "text_cfg": {}}})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a service that may read bases from one folder."""
    return Settings(root_folders=(tmp_path,))


def refusal(settings: Settings, base: str, kind: type[PerennialError] = BaseUnknown) -> str:
    """The message by which a base is refused."""
    with pytest.raises(kind) as told:
        require_known_base(settings, base)
    assert (type(told.value), told.value.pointer) == (kind, "/base")
    return told.value.message


@pytest.mark.parametrize(
    ("base", "kind", "words"),
    [
        ("coca_ViT-B-32:laion2b_s13b_b90k", ModelNotTrainable, "caption decoder"),
        ("ViT-Z-99:openai", BaseUnknown, "'ViT-Z-99'"),
        ("ViT-B-32:no-such-tag", BaseUnknown, "it has: openai, laion400m_e31,"),
        ("ViT-B-16-plus:openai", BaseUnknown, "it has: none"),
        ("/etc/x", BaseUnknown, """PERENNIAL_ROOT_FOLDERS='["/etc"]'"""),
        ("ViT-B-32:/etc/a.pt", BaseUnknown, """PERENNIAL_ROOT_FOLDERS='["/etc"]'"""),
        ("coca_ViT-B-32:/etc/a.pt", ModelNotTrainable, "caption decoder"),
        ("ViT-Z-99:/etc/a.pt", BaseUnknown, "'ViT-Z-99'"),
        ("local-dir:/etc", BaseUnknown, ""),
        ("file:///etc/passwd", BaseUnknown, ""),
        ("", BaseUnknown, ""),
    ],
)
def test_what_open_clip_does_not_list_and_other_folders_are_refused(
    settings: Settings, base: str, kind: type[PerennialError], words: str
) -> None:
    assert words in refusal(settings, base, kind)


@pytest.mark.parametrize(
    "base",
    ["bundled", "RN50:openai", "convnext_base:laion400m_s13b_b51k", "ViT-B-32:LAION2B-s34b-b79k"],
)
def test_what_open_clip_lists_is_taken(settings: Settings, base: str) -> None:
    require_known_base(settings, base)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (json.dumps({"model_cfg": {"multimodal_cfg": {}}}), ModelNotTrainable),
        (json.dumps({"preprocess_cfg": {}}), BaseUnknown),
        ("[]", BaseUnknown),
        ("{", BaseUnknown),
        (None, BaseUnknown),
        (SOUND, None),
    ],
)
def test_a_folder_is_judged_by_its_config(
    settings: Settings, tmp_path: Path, config: str | None, kind: type[PerennialError] | None
) -> None:
    (tmp_path / "open_clip_model.safetensors").touch()
    if config is not None:
        (tmp_path / "open_clip_config.json").write_text(config)
    if kind is not None:
        refusal(settings, f"local-dir:{tmp_path}", kind)
        return
    require_known_base(settings, f"local-dir:{tmp_path}")
    (tmp_path / "open_clip_model.safetensors").unlink()
    refusal(settings, str(tmp_path))


def test_a_file_in_a_root_folder_is_judged_by_its_name(settings: Settings, tmp_path: Path) -> None:
    for name in ("a.pt", "a.bin", "a.safetensors"):
        assert "no file" in refusal(settings, f"ViT-B-32:{tmp_path}/{name}")
        (tmp_path / name).touch()
        require_known_base(settings, f"ViT-B-32:{tmp_path}/{name}")
    (tmp_path / "a.h5").touch()
    refusal(settings, f"ViT-B-32:{tmp_path}/a.h5", WeightsFormat)
    (tmp_path / "link.pt").symlink_to("/etc/passwd")
    assert "PERENNIAL_ROOT_FOLDERS" in refusal(settings, f"ViT-B-32:{tmp_path}/link.pt")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["training_args.bin", "model.safetensors", "open_clip_model.safetensors"], 2),
        (["epoch_1.pt", "open_clip_pytorch_model.bin"], 1),
        (["epoch_1.pt", "notes.txt"], 0),
        (["epoch_1.pt", "epoch_2.pt"], "name one, as ARCHITECTURE:/PATH"),
        (["model-00001-of-00002.safetensors"], "Of the 2 parts of the weights 1 are there"),
        (["tf_model.h5"], "Weights"),
        (["notes.txt"], "no weights"),
    ],
)
def test_which_weights_of_a_folder_are_read(names: list[str], found: int | str) -> None:
    if isinstance(found, int):
        assert weights_files(names) == [names[found]]
        return
    with pytest.raises(PerennialError, match=found):
        weights_files(names)


def test_a_folder_of_transformers_is_judged_by_its_config(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text('{"model_type": "siglip"}')
    assert "preprocessor_config.json" in refusal(settings, str(tmp_path))
    half = [0.5, 0.5, 0.5]
    size = {"height": 224, "width": 224}
    prepared = {"size": size, "image_mean": half, "image_std": half}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": prepared}))
    assert "add its tokenizer.json" in refusal(settings, str(tmp_path))
    (tmp_path / "tokenizer.json").touch()
    require_known_base(settings, str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "blip"}')
    assert "model_type 'blip'" in refusal(settings, str(tmp_path), ModelNotTrainable)


def test_a_folder_lacks_the_tokenizer_that_its_config_names(
    settings: Settings, tmp_path: Path
) -> None:
    text_cfg = {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP", "pool_type": "last"}
    config = {"model_cfg": {"vision_cfg": {}, "text_cfg": text_cfg}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_model.safetensors").touch()
    assert "'timm/ViT-B-16-SigLIP': add its tokenizer.json" in refusal(settings, str(tmp_path))
    (tmp_path / "tokenizer.json").touch()
    require_known_base(settings, str(tmp_path))


def test_a_folder_that_the_system_cannot_open_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name in ["n" * 300, "loop/clip"]:
        refusal(settings, f"{tmp_path}/{name}")


def test_a_root_folder_of_another_machine_is_left_to_its_worker(tmp_path: Path) -> None:
    away = tmp_path / "away"
    require_known_base(Settings(root_folders=(away,)), str(away / "clip"))
