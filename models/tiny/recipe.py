"""The numbers that make the small CLIP: one frozen value, written to the log at the start."""

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
"""How a name becomes a sentence; the first is drawn most often and is the one to classify with."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the weights, besides the data and the number of steps."""

    seed: int = 20
    photos: int = 208
    """CIFAR-100 images in a batch."""
    emojis: int = 128
    cliparts: int = 48

    learning_rate: float = 2e-3
    matrix_learning_rate: float = 0.01
    """For the weight matrices inside both towers, whose steps are orthogonalised; 0: AdamW too."""
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    warmup: int = 200
    average: float = 0.998
    """Decay of the running average of the weights, which is what ships."""

    label_smoothing: float = 0.05
    text_weight: float = 0.5
    """Share of the text-to-image direction in the loss."""
    first_template: float = 0.4
    keywords: float = 0.35
    """How often a concept with keywords is described by them as well as by its name."""

    def rate(self, step: int, *, steps: int, cooldown: int) -> float:
        """Warm up, stay, then fall linearly to zero: the factor on both learning rates."""
        rising = min(1.0, (step + 1) / self.warmup)
        falling = min(1.0, (steps - step) / max(cooldown, 1))
        return max(0.0, min(rising, falling))
