"""The default recipe of a model by its architecture and size."""

from dataclasses import dataclass
from math import inf

from core.recipes.defaults import DefaultRecipe, differing_fields
from core.recipes.presets import PRESETS
from core.registry.architecture import is_resnet
from core.registry.image_tops import has_top
from core.registry.text_towers import text_tower_name
from core.values import Json


@dataclass(frozen=True, kw_only=True)
class _Size:
    name: str
    most: float  # tower parameters: see `Weights`
    recipe: Json
    source: str
    like: str = ""  # the vision transformer whose recipe other towers of this size get


# Sizes of both towers together, from the smallest to the largest. Embeddings of tokens do not
# count: those of a large vocabulary have more numbers than a tower, and a step reads a few of them.
_SIZES = (
    _Size(
        name="small",
        most=20e6,
        recipe=PRESETS["whole"],
        source="Tuned for training both towers of the bundled model, which is of this size.",
    ),
    _Size(
        name="base",
        most=300e6,
        recipe=PRESETS["vit_b_32"],
        source="The learning rate at which the literature fine-tunes a ViT-B (WiSE-FT, ZSCL); not "
        "measured here.",
        like="a ViT-B",
    ),
    _Size(
        name="large",
        most=700e6,
        recipe=PRESETS["vit_l_14_24gb"],
        source="The learning rate at which the literature fine-tunes CLIP (WiSE-FT, ZSCL), and "
        "batches that by computation fit into 24 GiB; not measured here.",
        like="a ViT-L",
    ),
    _Size(
        name="huge",
        most=inf,
        recipe=PRESETS["vit_l_14_24gb"],
        source="By size, not measured: as for a ViT-L.",
    ),
)

_SMALL_CONVNEXT = DefaultRecipe(
    name="small_convnext",
    source="Measured with the bundled model, which is one: docs/studies/off-the-curve.md.",
    fields=differing_fields(PRESETS["top"]),
)


def default_recipe(model_cfg: Json, parameters: int) -> DefaultRecipe:
    """Return the default recipe of an open_clip architecture with so many tower parameters."""
    size = next(one for one in _SIZES if parameters <= one.most)
    if size.name == "small" and has_top(model_cfg):
        return _SMALL_CONVNEXT
    fields = dict(differing_fields(size.recipe))
    if is_resnet(model_cfg):
        fields.pop("gradient_checkpointing", None)  # which it cannot do
    family, source = _family(model_cfg), size.source
    if family and size.like:
        source = f"By size, not measured: as for {size.like}, though it is {family}."
    return DefaultRecipe(name=size.name, source=source, fields=fields)


def _family(model_cfg: Json) -> str | None:
    """Return the kind of an architecture that is not CLIP with a vision transformer."""
    if model_cfg.get("init_logit_bias") is not None:
        return "a model of a sigmoid loss"
    if model_cfg.get("vision_cfg", {}).get("timm_model_name"):
        return "an image tower of timm's"
    if text_tower_name(model_cfg):
        return "a model with a text tower of transformers"
    return "a ResNet" if is_resnet(model_cfg) else None
