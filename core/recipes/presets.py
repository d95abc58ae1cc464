"""Named sets of a recipe's choices: learning methods, and presets.

A method gives the defaults of the choices below; a recipe's own fields override them, so that
`{"method": "lwf", "teacher": "root"}` is LwF towards the root.
"""

from collections.abc import Mapping
from types import MappingProxyType

from core.errors import RecipeInvalid
from core.recipes.fields import LabelSpace, LossTerm, Method, MixingChoice, ModelPart, TeacherPolicy
from core.values import Json

_FINE_TUNING: Json = {
    "part": ModelPart.WHOLE,
    "augment": True,
    "terms": (),
    "teacher": TeacherPolicy.PARENT,
    "label_space": LabelSpace.SESSION,
    "exemplars": 0,
    "feature_replay": 0,
    "warm_start": 1.0,
    "mixing_choice": MixingChoice.NONE,
}
_VRLWF: Json = {**_FINE_TUNING, "terms": (LossTerm.VR, LossTerm.LWF)}
_REPLAY: Json = {**_FINE_TUNING, "label_space": LabelSpace.SEEN, "exemplars": 1000}

METHODS: Mapping[Method, Json] = MappingProxyType(
    {
        # Don't Stop Learning (Ding et al., 2207.09248).
        Method.VRLWF: _VRLWF,
        # VR-LwF's sentence term towards the root, with exemplars of earlier updates. The errors of
        # successive teachers do not add up, and what was learned since the root is held by the
        # exemplars. Training starts half-way back to the root, so the distances from the root do
        # not add up either.
        Method.VRLWF_REPLAY: {
            **_REPLAY,
            "terms": (LossTerm.VR,),
            "teacher": TeacherPolicy.ROOT,
            "exemplars": 2000,
            "warm_start": 0.5,
        },
        # The same without stored images: features drawn from each earlier class's statistics take
        # the exemplars' place. The image tower must stay as it is, or they would not be its own.
        Method.VRLWF_FEATURES: {
            **_FINE_TUNING,
            "part": ModelPart.TEXT,
            "augment": False,
            "terms": (LossTerm.VR,),
            "teacher": TeacherPolicy.ROOT,
            "label_space": LabelSpace.SEEN,
            "feature_replay": 2000,
            "warm_start": 0.5,
        },
        Method.VRLWF_CROSS: {**_VRLWF, "terms": (LossTerm.VR, LossTerm.LWF, LossTerm.CROSS)},
        # Learning without Forgetting (Li and Hoiem, 1606.09282), on CLIP's class logits.
        Method.LWF: {**_FINE_TUNING, "terms": (LossTerm.LWF,)},
        # Cross entropy alone: the most plastic method, and the baseline of the others.
        Method.FT: _FINE_TUNING,
        # Mean-IMM (Lee et al., 1703.08475). The mixed version is the parent of the next update,
        # so over k updates the root's share falls as (1 - mixing)^k.
        Method.IMM_MEAN: {**_FINE_TUNING, "mixing_choice": MixingChoice.FIXED},
        # WiSE-FT (Wortsman et al., 2109.01903).
        Method.WISE: {**_FINE_TUNING, "mixing_choice": MixingChoice.VALIDATION},
        # ZSCL (Zheng et al., 2303.06628). The paper's teacher is the root, its temperature is 2,
        # and it publishes the running mean of the weights: the preset `zscl` sets these fields.
        Method.ZSCL: {**_FINE_TUNING, "terms": (LossTerm.REFERENCE,)},
        # iCaRL's exemplar sets (Rebuffi et al., 1611.07725) in fine-tuning over the classes seen.
        Method.REPLAY: _REPLAY,
    }
)
COMPOSED = tuple(_FINE_TUNING)  # the fields whose defaults the method gives

_EXCLUDES_FEATURES = (  # choices of a recipe's own with which no features can be replayed
    ("part", ModelPart.WHOLE),
    ("part", ModelPart.IMAGE),
    ("augment", True),
    ("label_space", LabelSpace.SESSION),
    ("feature_replay", 0),
)


def defaults_of(method: Method, own: Json) -> Json:
    """Return the choices that a method makes beside a recipe's own.

    Without exemplars, `vrlwf_replay` replays features. Where the recipe's own choices exclude
    that, it is VR-LwF.
    """
    if method is not Method.VRLWF_REPLAY or own.get("exemplars") != 0:
        return METHODS[method]
    excluded = any(own.get(name) == choice for name, choice in _EXCLUDES_FEATURES)
    excluded |= LossTerm.REFERENCE in own.get("terms", ())  # it distils the image tower
    return METHODS[Method.VRLWF if excluded else Method.VRLWF_FEATURES]


# Presets: starting points for a recipe, such as `{"preset": "released", "epochs": 5}`.
#
# A preset's values come first and the recipe's own fields override them. Versions store the
# full recipe, so a preset can be tuned later without affecting existing versions.

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
# times less than that of small models, which is tuned for the bundled one. Models of this size have
# these values by default (core/registry/default_recipe.py). This is a starting point, not a result:
# no model of this size was tuned for this project.
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

# Part `top` of a small ConvNeXt, which is the default of such models: it learns more than both
# towers trained, keeps as much and changes fewer answers (docs/studies/off-the-curve.md). Its steps
# read no pixels, so fifteen epochs take as long as six that train both towers; a heavier term of
# sentences keeps the more.
_TOP: Json = {
    "method": "vrlwf_replay",
    "part": "top",
    "augment": False,
    "epochs": 15,
    "replay_weight": 24.0,
}

PRESETS: Mapping[str, Json] = MappingProxyType(
    {
        "released": _RELEASED,
        "top": _TOP,
        "vit_b_32": _VIT_B_32,
        "vit_l_14_24gb": _VIT_L_14_24GB,
        "whole": {"method": "vrlwf_replay"},  # both towers: the default of other small models
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
