"""The hyperparameters of the small CLIP, which are logged when training starts."""

from dataclasses import dataclass

TEMPLATES = (
    "this is a photo of {name} .",
    "{name}",
    "a photo of {name}",
    "a picture of {name} .",
    "an image of the {name}",
    "a small picture of {name}",
    "an icon of {name}",
    "a drawing of {name} .",
)
"""Prompt templates; the first one is drawn most often and is the one to classify with."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the weights except the data and the number of steps."""

    seed: int = 20
    photos: int = 208
    """CIFAR-100 images in a batch."""
    emojis: int = 128
    cliparts: int = 48

    learning_rate: float = 2e-3
    matrix_learning_rate: float = 0.01
    """Muon's learning rate for the matrices inside both towers; 0 trains them with AdamW."""
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    warmup: int = 200
    average: float = 0.998
    """Decay of the running average of the weights, which is what is released."""

    label_smoothing: float = 0.05
    text_weight: float = 0.5
    """Share of the text-to-image direction in the loss."""
    first_template: float = 0.4
    keywords: float = 0.35
    """Probability that a concept with keywords is described by keywords."""

    def rate(self, step: int, *, steps: int, cooldown: int) -> float:
        """Return the factor on both learning rates: warm-up, constant, then linear decay to 0."""
        rising = min(1.0, (step + 1) / self.warmup)
        falling = min(1.0, (steps - step) / max(cooldown, 1))
        return max(0.0, min(rising, falling))
