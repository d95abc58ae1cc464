"""The top of an image tower, which part `top` trains: what is below stays as it is.

It is the last stage of a ConvNeXt of timm, with what follows. What comes below it is small there:
2,048 numbers of an image in the bundled model. In a vision transformer it is all tokens, 20 to 290
times as many.
"""

from core.errors import ModelNotTrainable
from core.values import Json

_TOP = (
    "visual.trunk.stages.3.",  # the fourth and last
    "visual.trunk.norm_pre.",
    "visual.trunk.head.",
    "visual.head.",  # the projection, which is open_clip's
)


def is_below_top(tensor: str) -> bool:
    """Return whether a tensor belongs to an image tower, below its top."""
    return tensor.startswith("visual.") and not tensor.startswith(_TOP)


def has_top(model_cfg: Json) -> bool:
    """Return whether the image tower of an open_clip architecture has such a top."""
    return "convnext" in str(model_cfg.get("vision_cfg", {}).get("timm_model_name", ""))


def require_top(config: Json) -> None:
    """Raise ModelNotTrainable if the model of a config has no such top."""
    if not has_top(config.get("model_cfg", {})):
        raise ModelNotTrainable(
            "Part 'top' trains the last stage of a ConvNeXt of timm, and this image tower is "
            "another: choose part 'text', or 'whole' with exemplars.",
            pointer="/recipe/part",
        )
