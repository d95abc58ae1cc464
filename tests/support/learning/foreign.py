"""Small random models as other tools save them: transformers, torch and TorchScript.

timm and transformers take seconds to import, which every process of the suite would need.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from core.bases.huggingface import SIGLIP_TOWERS
from tests.support.learning.tokenizers import size_of, write_tokenizer

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer
    from transformers import CLIPModel, PreTrainedModel, SiglipModel

SMALL = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 40}
SIDE, PATCH = 32, 16
TOWER = "test_siglip_32"


def clip_folder(path: Path, activation: str = "quick_gelu") -> CLIPModel:
    """Save a `CLIPModel` with its image processor."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    shared = {**SMALL, "hidden_act": activation}
    model = _random(
        CLIPModel,
        CLIPConfig(
            text_config={**shared, "num_hidden_layers": 2, "max_position_embeddings": 16},
            vision_config={
                **shared,
                "num_hidden_layers": 2,
                "image_size": SIDE,
                "patch_size": PATCH,
            },
            projection_dim=12,
        ),
    )
    model.save_pretrained(path)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(path)
    return model


def siglip_folder(path: Path, kind: str = "siglip") -> SiglipModel:
    """Save a `SiglipModel` with its image processor, and a tokenizer."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    model = _random(
        SiglipModel,
        SiglipConfig(
            text_config={
                **SMALL,
                "num_hidden_layers": 2,
                "max_position_embeddings": 16,
                "vocab_size": size_of(kind),
            },
            vision_config={
                **SMALL,
                "num_hidden_layers": 2,
                "image_size": SIDE,
                "patch_size": PATCH,
            },
        ),
    )
    model.save_pretrained(path)
    size = {"height": SIDE, "width": SIDE}
    SiglipImageProcessor(size=size, resample=2).save_pretrained(path)
    write_tokenizer(path, kind)
    return model


def know_small_siglip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have timm and the table of SigLIP's towers know one that is small."""
    import timm
    from timm.models.vision_transformer import VisionTransformer

    sizes = (16, 2, 2, 40, PATCH, SIDE)
    monkeypatch.setitem(SIGLIP_TOWERS, sizes, TOWER)

    def build(**settings: Any) -> VisionTransformer:
        del settings["pretrained"]
        for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
            settings.pop(name, None)
        shape = {"embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2.5}
        return VisionTransformer(
            img_size=SIDE, patch_size=PATCH, class_token=False, **shape, **settings
        )

    monkeypatch.setitem(timm.models._registry._model_entrypoints, TOWER, build)


def change(path: Path, **fields: Any) -> None:
    """Change fields of a JSON file, or of its sections by `section__field`."""
    found = json.loads(path.read_text())
    for name, value in fields.items():
        *section, field = name.split("__")
        (found[section[0]] if section else found)[field] = value
    path.write_text(json.dumps(found))


def _random(kind: type[PreTrainedModel], config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config).eval()
        for parameter in model.parameters():  # norms and biases too, which begin as ones and zeros
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return model
