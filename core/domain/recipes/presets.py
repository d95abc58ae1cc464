"""Named starting points for a recipe: `{"preset": "released", "epochs": 5}`.

A preset's values come first and the recipe's own fields override them. Versions store the
full recipe, so a preset can be tuned later without affecting existing versions.
"""

from collections.abc import Mapping
from types import MappingProxyType

from core.domain.values import Json
from core.errors import RecipeInvalid

# The trainer published with VR-LwF (Ding et al., 2022, one session, ViT-B/32), as it behaves in
# practice. It clips gradients to norm 1 while they are still multiplied by the loss scale, 65,536
# or more, so every step's gradient has norm 1/65,536 whatever the loss, and Adam's epsilon of 1e-8
# is no longer small. Multiplying both by the scale gives a gradient whose norm is always 1, and an
# epsilon of 6.55e-4. The trainer doubles the scale after every 2,000 steps without overflow; this
# uses its initial scale. Both distillations have the same weight, and the learning rate falls to a
# tenth after ten of fifteen epochs. Precision here is fp32 (there: fp16 for the student alone,
# whose distillation loss therefore did not start at zero).
_RELEASED: Json = {
    "method": "vrlwf",
    "part": "whole",
    "teacher": "parent",
    "label_space": "session",
    "epochs": 15,
    "batch_size": 100,
    "learning_rate": 1e-6,
    "optimiser": "adam",
    "epsilon": 1e-8 * 2**16,
    "weight_decay": 0.0,
    "schedule": "step",
    "clip_norm": 1.0,
    "unit_gradient": True,
    "replay_weight": 0.5,
    "lwf_weight": 0.5,
    "sentences": 100,
    "sentence_length": 10,
    "vocabulary": "all",
    "temperature": 1.0,
    "augment": True,
    "precision": "fp32",
}

# A ViT-B/32 or another pre-trained model of its size (150 M parameters). The learning rate, 1e-5,
# is the usual one in publications that fine-tune pre-trained CLIP models (WiSE-FT, ZSCL): thirty
# times less than the default, which is tuned for the bundled model of a few million parameters.
# This is a starting point, not a result: no model of this size was tuned for this project.
_VIT_B_32: Json = {
    "method": "vrlwf_replay",
    "batch_size": 100,
    "learning_rate": 1e-5,
    "replay_weight": 2.0,
    "optimiser": "adamw",
    "weight_decay": 0.0,
    "schedule": "cosine",
}

# The same for a ViT-L/14 (428 M parameters) on one device of 24 GiB: batches of 64 in parts
# of 16 images, activations recomputed in the backward pass. The result is exactly the same, for a
# quarter more computation. docs/models.md lists the memory of every tensor.
_VIT_L_14_24GB: Json = {
    **_VIT_B_32,
    "batch_size": 64,
    "micro_batch": 16,
    "gradient_checkpointing": True,
}

# ZSCL (Zheng et al., 2023) with its published settings for MTIL on a ViT-B/16: distils reference
# images and sentences from the lineage's root at temperature 2, and saves the running mean of the
# weights, sampled every 100 steps. Omitted: label smoothing 0.2 and the fixed logit scale. An
# update there has 1,000 steps; choose `epochs` accordingly.
_ZSCL: Json = {
    "method": "zscl",
    "teacher": "root",
    "batch_size": 64,
    "learning_rate": 1e-5,
    "optimiser": "adamw",
    "weight_decay": 0.0,
    "schedule": "cosine",
    "reference_weight": 1.0,
    "temperature": 2.0,
    "averaging": "running",
    "averaging_every": 100,
}

PRESETS: Mapping[str, Json] = MappingProxyType(
    {
        "released": _RELEASED,
        "vit_b_32": _VIT_B_32,
        "vit_l_14_24gb": _VIT_L_14_24GB,
        "zscl": _ZSCL,
    }
)


def with_preset(value: Json) -> Json:
    """Return a recipe's JSON with the values of its preset. Raises RecipeInvalid."""
    if "preset" not in value:
        return value
    own = dict(value)
    name = own.pop("preset")
    if not isinstance(name, str) or name not in PRESETS:
        words = ", ".join(PRESETS)
        raise RecipeInvalid(f"preset must be one of: {words}.", pointer="/recipe/preset")
    return {**PRESETS[name], **own}
