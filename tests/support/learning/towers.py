"""One small config of every kind of model that can be taught; weights are random."""

from __future__ import annotations

import copy
from typing import Any

from core.registry.text_towers import TEXT_CONFIG, text_config
from tests.support.learning.tiny_clip import CONFIG, described
from tests.support.learning.tokenizers import size_of

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


def own_tokenizer(kind: str, **text_cfg: Any) -> dict[str, Any]:
    """The text tower of a model with a tokenizer of its own."""
    return {
        **TEXT,
        "vocab_size": size_of(kind),
        "hf_tokenizer_name": f"test/{kind}",
        "no_causal_mask": True,
        "pool_type": "last",
        **text_cfg,
    }


# As open_clip's configs of these families, with less depth and width.
SIGLIP_1: dict[str, Any] = {
    **SIGLIP,
    "text_cfg": own_tokenizer(
        "siglip",
        proj_bias=True,
        norm_kwargs={"eps": 1e-6},
        tokenizer_kwargs={"clean": "canonicalize"},
    ),
}
SIGLIP_2: dict[str, Any] = {
    **SIGLIP,
    "text_cfg": own_tokenizer(
        "siglip2",
        proj_bias=True,
        norm_kwargs={"eps": 1e-6},
        act_kwargs={"approximate": "tanh"},
        tokenizer_kwargs={"clean": "canonicalize"},
    ),
}
CLIPA: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {
        **CONFIG["model_cfg"]["vision_cfg"],
        "no_ln_pre": True,
        "pool_type": "avg",
        "final_ln_after_pool": True,
    },
    "text_cfg": own_tokenizer("clipa", tokenizer_kwargs={"strip_sep_token": True}),
}
WORLDWIDE: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": CONFIG["model_cfg"]["vision_cfg"],
    "text_cfg": own_tokenizer("worldwide", no_causal_mask=False, pool_type="eos", eos_id=2),
}
# How long a side of the text towers of transformers is in small; what else they say stays.
SMALL_TEXT: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "d_model"), 8),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "encoder_layers"), 1),
    **dict.fromkeys(("num_attention_heads", "num_heads", "encoder_attention_heads"), 2),
    **dict.fromkeys(("intermediate_size", "d_ff", "encoder_ffn_dim"), 16),
    **{"d_kv": 4, "max_position_embeddings": 20},
}
# Of each kind of tokenizer, the tower that open_clip names with it, and how it makes one vector.
FOREIGN: dict[str, tuple[str, str]] = {
    "roberta": ("roberta-base", "mean_pooler"),
    "mt5": ("google/mt5-base", "mean_pooler"),
    "nllb": ("facebook/nllb-200-distilled-600M", "cls_pooler"),
}


def small_text_config(name: str, kind: str) -> dict[str, Any]:
    """The `text_config` of a published text tower in small, for a kind of tokenizer."""
    published = text_config({"text_cfg": {"hf_model_name": name}})[TEXT_CONFIG]
    small = {key: SMALL_TEXT.get(key, value) for key, value in published.items()}
    return {**small, "vocab_size": size_of(kind)}


def foreign(kind: str) -> dict[str, Any]:
    """A model whose text tower is one of transformers."""
    return {
        "embed_dim": 16,
        "vision_cfg": CONFIG["model_cfg"]["vision_cfg"],
        "text_cfg": {
            "hf_model_name": f"test/{kind}",
            "hf_tokenizer_name": f"test/{kind}",
            "hf_pooler_type": FOREIGN[kind][1],
            "context_length": 16,
        },
    }


OWN: dict[str, dict[str, Any]] = {
    **{kind: foreign(kind) for kind in FOREIGN},
    "siglip": SIGLIP_1,
    "siglip2": SIGLIP_2,
    "clipa": CLIPA,
    "worldwide": WORLDWIDE,
}
TOWERS: dict[str, dict[str, Any]] = {
    "resnet": RESNET,
    "siglip": SIGLIP,
    "siglip as published": SIGLIP_1,
    "timm with dropout": TIMM_DROPOUT,
    "timm with batch norm": TIMM_BATCH_NORM,
}


def config_of(tower: str, **model_cfg: Any) -> dict[str, Any]:
    """The whole config of a kind, with changes to its `model_cfg`."""
    config = copy.deepcopy(TOWERS[tower]) | model_cfg
    return described(
        {"model_cfg": config, "preprocess_cfg": copy.deepcopy(CONFIG["preprocess_cfg"])}
    )


def own_config(kind: str) -> dict[str, Any]:
    """The whole config of a family with tokenizers of its own, and its way with images."""
    squashed = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    images = squashed if kind in {"siglip", "siglip2", "clipa"} else {}
    sizes = {TEXT_CONFIG: small_text_config(FOREIGN[kind][0], kind)} if kind in FOREIGN else {}
    return described({"model_cfg": copy.deepcopy(OWN[kind]), "preprocess_cfg": images, **sizes})
