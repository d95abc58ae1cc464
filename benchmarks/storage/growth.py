"""The bytes that an update of the small model's image tower adds to a store."""

from dataclasses import dataclass

import torch

from benchmarks.null_monitor import NullMonitor
from benchmarks.synthetic_images import stored_pictures
from core.clip.bases.pretrained import BaseImporter
from core.clip.weights import publish, read_state
from core.domain.recipes.choices import ModelPart, Precision
from core.domain.recipes.prompt import PromptTemplate
from core.domain.recipes.recipe import Recipe
from core.domain.registry.version import Weights
from core.learning.trainer import UpdateTrainer
from core.ports import Artifacts, TrainingSpec

CLASSES = ("cat", "dog")
IMAGES = 8
RECIPE = Recipe(part=ModelPart.IMAGE, epochs=1, batch_size=4, precision=Precision.FP32)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The size of a version and the growth of the store by the next ones, in bytes."""

    version: int  # the parent's tensors
    tower: int  # its image tower's, with the logit scale, which every part trains
    update: int  # added by an update of that tower: tensors alone
    listed: int  # added by it too: the list of its tensors, whose digest is the version's
    again: int  # added when the updated version is published once more


def measure_growth(artifacts: Artifacts) -> Growth:
    """Update the bundled model's image tower with two classes and publish the result twice."""
    parent, prompt = BaseImporter(artifacts).load("bundled", NullMonitor())
    spec = TrainingSpec(
        parent=parent.digest,
        root=parent.digest,
        recipe=RECIPE,
        classes=CLASSES,
        learned=(),
        open_classes=(),
        images=stored_pictures(artifacts, CLASSES * (IMAGES // len(CLASSES)), side=64),
        prompt=PromptTemplate(prompt),
    )
    trainer = UpdateTrainer(artifacts, device=torch.device("cpu"), threads=1)
    before = size_of(artifacts)
    updated = trainer.train(spec, resume=None, monitor=NullMonitor()).weights
    after = size_of(artifacts)
    state = read_state(updated, artifacts)
    again = publish(updated.config, state, artifacts, lambda *_: None)
    assert again.digest == updated.digest != parent.digest
    listed = len(updated.to_bytes())
    return Growth(
        version=parent.size,
        tower=tower_size(parent),
        update=after - before - listed,
        listed=listed,
        again=size_of(artifacts) - after,
    )


def size_of(artifacts: Artifacts) -> int:
    """Return the number of bytes in a store."""
    return sum(row.size for row in artifacts.stored())


def tower_size(weights: Weights) -> int:
    """Return the number of bytes that an update of the image tower may change."""
    return sum(
        tensor.size
        for tensor in weights.tensors
        if tensor.name == "logit_scale" or tensor.name.startswith("visual.")
    )
