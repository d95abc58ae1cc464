"""How the OpenAPI document describes a recipe. What counts is `Recipe`, which checks it."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from core.domain.recipes.bounds import BOUNDS
from core.domain.recipes.presets import PRESETS
from core.domain.recipes.recipe import (
    Averaging,
    ExemplarChoice,
    LabelSpace,
    Method,
    ModelPart,
    Optimiser,
    Precision,
    Recipe,
    Schedule,
    TeacherPolicy,
    Vocabulary,
)

Schema = dict[str, Any]


def _number(name: str, words: str) -> Schema:
    bounds = BOUNDS[name]
    return {
        "type": "integer" if bounds.whole else "number",
        "minimum": bounds.low,
        "maximum": bounds.high,
        "description": words,
    }


def _choice(allowed: type[StrEnum], words: str) -> Schema:
    return {"type": "string", "enum": [str(one) for one in allowed], "description": words}


def _switch(words: str) -> Schema:
    return {"type": "boolean", "description": words}


FIELDS: dict[str, Schema] = {
    "method": _choice(Method, "The learning method."),
    "part": _choice(ModelPart, "Which parameters train."),
    "teacher": _choice(TeacherPolicy, "Whom the update is held to: parent, root or both."),
    "label_space": _choice(
        LabelSpace, "Which classes compete: the update's, all learned, or the suites' too."
    ),
    "epochs": _number("epochs", "Passes over the training images."),
    "batch_size": _number("batch_size", "Images a step."),
    "learning_rate": _number(
        "learning_rate", "The schedule's start or peak; the default is too high for large models."
    ),
    "optimiser": _choice(Optimiser, "The optimiser."),
    "epsilon": _number("epsilon", "Adam's epsilon."),
    "weight_decay": _number("weight_decay", "Decoupled for adamw, added to the gradient for adam."),
    "schedule": _choice(Schedule, "How the learning rate moves."),
    "clip_norm": _number("clip_norm", "The largest global norm of a gradient."),
    "unit_gradient": _switch("Scale every gradient to clip_norm, also smaller ones."),
    "replay_weight": _number("replay_weight", "Weight of the random sentences' distillation."),
    "lwf_weight": _number("lwf_weight", "Weight of the class prompts' distillation."),
    "cross_weight": _number(
        "cross_weight", "vrlwf_cross: weight of the terms between old and new vectors."
    ),
    "reference_weight": _number(
        "reference_weight", "zscl: weight of the reference set's distillation."
    ),
    "mixing": _number("mixing", "imm_mean: the new weights' share of the mean."),
    "exemplars": _number("exemplars", "replay: images kept of all earlier updates together."),
    "exemplar_choice": _choice(ExemplarChoice, "replay: how they are chosen, class by class."),
    "exemplar_batch": _number(
        "exemplar_batch", "replay: exemplars in each step besides its own images."
    ),
    "averaging": _choice(Averaging, "Which weights the update ends with; goes with any method."),
    "averaging_decay": _number(
        "averaging_decay", "averaging ema: what the average keeps at a sample."
    ),
    "averaging_every": _number("averaging_every", "Steps between two samples of an average."),
    "sentences": _number("sentences", "Random sentences a step."),
    "sentence_length": _number(
        "sentence_length", "Tokens of a sentence, start and end token included."
    ),
    "vocabulary": _choice(Vocabulary, "Which tokens the sentences are drawn from."),
    "vocabulary_texts": {
        "type": "array",
        "items": {"type": "string"},
        "maxItems": 100_000,
        "description": "vocabulary file: the sentences themselves; only then.",
    },
    "temperature": _number("temperature", "Of all distillations."),
    "augment": _switch("Crop and flip training images at random."),
    "precision": _choice(
        Precision, "Of the forward pass; auto: bf16 if the device has it, else fp32."
    ),
    "micro_batch": _number(
        "micro_batch", "Images in memory at a time, 0 for the whole batch; the result is the same."
    ),
    "gradient_checkpointing": _switch("Recompute activations: less memory, the same result."),
    "seed": _number("seed", "Of everything random."),
}


def _schema() -> Schema:
    defaults = Recipe().to_json()
    preset = {
        "type": "string",
        "enum": sorted(PRESETS),
        "description": (
            "Values to start from instead of the defaults; other fields override them. The "
            "defaults are tuned for the bundled model: teach a ViT-B/32, or what is about as "
            "large, with vit_b_32, a ViT-L/14 with vit_l_14_24gb."
        ),
    }
    fields = {name: {**field, "default": defaults[name]} for name, field in FIELDS.items()}
    return {
        "type": "object",
        "title": "Recipe",
        "additionalProperties": False,
        "properties": {"preset": preset, **fields},
        "description": (
            "What differs from the defaults, which suit the bundled model; for large pre-trained "
            "models name a preset. Versions store it spelled out in full."
        ),
        "examples": [
            {"method": "vrlwf", "epochs": 6, "replay_weight": 24.0},
            {"preset": "vit_b_32", "epochs": 3},
        ],
    }


RECIPE_SCHEMA = _schema()
RecipeFields = Annotated[dict[str, Any], WithJsonSchema(RECIPE_SCHEMA), Field()]
