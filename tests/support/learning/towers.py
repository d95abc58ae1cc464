"""One small config of every kind of model that can be taught; weights are random."""

from __future__ import annotations

import copy
from typing import Any

from tests.support.learning.tiny_clip import CONFIG

TEXT: dict[str, Any] = CONFIG["model_cfg"]["text_cfg"]

RESNET: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": TEXT,
}
# As SigLIP, but with CLIP's tokenizer: a bias, a text tower that sees the padding, its last
# position as the sentence's feature, attention pooling over patches.
SIGLIP: dict[str, Any] = {
    "embed_dim": 64,
    "init_logit_bias": -10.0,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {
        **TEXT,
        "no_causal_mask": True,
        "pool_type": "last",
        "proj_bias": True,
        "tokenizer_kwargs": {"clean": "canonicalize"},
    },
}
TIMM_DROPOUT: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 64,
        "timm_model_name": "test_convnext",
        "timm_pool": "avg",
        "timm_proj": "linear",
        "timm_drop": 0.5,
        "timm_drop_path": 0.5,
    },
    "text_cfg": TEXT,
}
TIMM_BATCH_NORM: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 64,
        "timm_model_name": "test_efficientnet",
        "timm_pool": "avg",
        "timm_proj": "mlp",
        "timm_drop": 0.5,
    },
    "text_cfg": TEXT,
}
TOWERS: dict[str, dict[str, Any]] = {
    "resnet": RESNET,
    "siglip": SIGLIP,
    "timm with dropout": TIMM_DROPOUT,
    "timm with batch norm": TIMM_BATCH_NORM,
}


def config_of(tower: str, **model_cfg: Any) -> dict[str, Any]:
    """The whole config of a kind, with changes to its `model_cfg`."""
    config = copy.deepcopy(TOWERS[tower]) | model_cfg
    return {"model_cfg": config, "preprocess_cfg": copy.deepcopy(CONFIG["preprocess_cfg"])}
