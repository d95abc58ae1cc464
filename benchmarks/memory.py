"""Compute the memory that a step of an update takes, tensor by tensor: `make bench-memory`.

The step is the trainer's own, with its towers, micro-batches and losses. It runs on fake tensors,
which have shapes and lifetimes but no data, so any model takes seconds on any machine. The result
is the size of all live storages in bytes; the allocator's overhead and the device's context (about
0.5 GiB on CUDA) come on top.
"""

import argparse
import json
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from benchmarks.output import publish
from core.clip.model import ClipModel, empty_network
from core.learning.methods import LearningMethod, total
from core.learning.student import Models, Texts
from core.learning.vocabulary import Columns, generator_of, sentences_of
from core.recipes.fields import DEFAULT_PROMPT, Precision
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from core.values import Digest

GIB = 2**30

FAKE_WARNINGS = (  # torch's, about its own fake tensors
    "Accessing the data pointer of FakeTensor",
    "The .grad attribute of a Tensor that is not a leaf",
)

CONFIGS = Path(open_clip.__file__).parent / "model_configs"


@dataclass(frozen=True, kw_only=True)
class Account:
    """The bytes on the device during one step."""

    student: int  # parameters and buffers
    teacher: int  # without tensors shared with the student
    gradients: int
    moments: int  # Adam's two
    activations: int  # all else, at its peak

    @property
    def total(self) -> int:
        """An upper bound: gradients are complete only when most activations have been freed."""
        return self.student + self.teacher + self.gradients + self.moments + self.activations


class Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all live tensors that operations create."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.most = 0
        self._seen = WeakIdKeyDictionary()

    def know(self, tensor: Tensor) -> None:
        """Exclude a tensor that is accounted for elsewhere."""
        self._seen[tensor.untyped_storage()] = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen[storage] = True
        size = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.now -= size


def account(model_cfg: Mapping[str, Any], recipe: Recipe, *, classes: int) -> Account:
    """Return the memory that a step of `recipe` takes for a model and a number of classes.

    Precision `auto` is resolved as on a device with bf16 instructions.
    """
    recipe = replace(recipe, precision=recipe.precision.on({Precision.BF16}))
    with warnings.catch_warnings():
        for message in FAKE_WARNINGS:
            warnings.filterwarnings("ignore", message)
        return _account(model_cfg, recipe, classes)


def _account(model_cfg: Mapping[str, Any], recipe: Recipe, classes: int) -> Account:
    names = tuple(f"class {number}" for number in range(classes))
    with torch.device("meta"):
        network = empty_network({"model_cfg": model_cfg})
    height, width = _size(network)
    with FakeTensorMode(allow_non_fake_inputs=True):
        network.to_empty(device="cpu")
        pixels = torch.zeros(recipe.batch_size, 3, height, width, dtype=torch.uint8)
        target = torch.zeros(recipe.batch_size, dtype=torch.long)
    # As many of CLIP's tokens stand for those of a tokenizer that the architecture's weights bring.
    text_cfg = {k: v for k, v in model_cfg["text_cfg"].items() if k != "hf_tokenizer_name"}
    read = {"model_cfg": {**model_cfg, "text_cfg": text_cfg}}
    parent = ClipModel(network=network.eval(), config=read)
    method = LearningMethod(recipe, Columns.of(recipe, names, (), ()))
    spec = _spec(recipe, names)
    models = Models.of(spec, parent, names, distils=method.distils, load=lambda _: parent)
    student = storages(models.student)
    teacher: dict[int, Tensor] = {}
    for one in models.teachers:
        teacher |= storages(one)
    own = {key: tensor for key, tensor in teacher.items() if key not in student}
    for parameter in models.parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in models.parameters.values()]
    with Living() as living:
        for tensor in (*student.values(), *own.values(), *gradients):
            living.know(tensor)
        texts = _texts(models, recipe)
        size = recipe.micro_batch or recipe.batch_size
        for start in range(0, min(recipe.batch_size, 2 * size), size):  # the rest is as the second
            batch = models.batch(pixels[start : start + size], target[start : start + size], texts)
            terms = method.terms()
            loss = total(terms, [term.loss(batch) for term in terms])
            loss.backward()  # type: ignore[no-untyped-call]
            del batch
        texts.backward()
    trained = sum(p.numel() * p.element_size() for p in models.parameters.values())
    return Account(
        student=_bytes(student),
        teacher=_bytes(own),
        gradients=trained,
        moments=2 * trained,
        activations=living.most,
    )


def _texts(models: Models, recipe: Recipe) -> Texts:
    sentences = sentences_of(recipe, models.student).draw(generator_of("memory"))
    with torch.no_grad():
        replayed = [reader.encode_tokens(sentences) for reader in models.readers]
    return models.texts(sentences, replayed)


def _size(network: torch.nn.Module) -> tuple[int, int]:
    tower: Any = network.get_submodule("visual")
    size = tower.image_size
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def storages(model: ClipModel) -> dict[int, Tensor]:
    """Return one tensor of each storage of a model."""
    tensors = (*model.network.parameters(), *model.network.buffers())
    return {tensor.untyped_storage()._cdata: tensor for tensor in tensors}


def _bytes(tensors: Mapping[int, Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors.values())


def _spec(recipe: Recipe, names: tuple[str, ...]) -> TrainingSpec:
    nowhere = Digest("0" * 64)
    return TrainingSpec(
        parent=nowhere,
        root=nowhere,
        recipe=recipe,
        classes=names,
        learned=(),
        open_classes=(),
        images=(),
        prompt=DEFAULT_PROMPT,
    )


def main() -> None:
    """Print the memory of one model and recipe."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("model", nargs="?", default="ViT-L-14", help="open_clip architecture")
    parser.add_argument(
        "--recipe", default='{"preset": "vit_l_14_24gb"}', help="recipe of the update, as JSON"
    )
    parser.add_argument("--classes", type=int, default=100, help="number of classes")
    given = parser.parse_args()
    model_cfg = json.loads((CONFIGS / f"{given.model}.json").read_bytes())
    found = account(model_cfg, Recipe.from_json(json.loads(given.recipe)), classes=given.classes)
    sizes = (*vars(found).items(), ("total", found.total))
    rows = [{"what": name, "GiB": round(size / GIB, 2)} for name, size in sizes]
    publish("memory", rows, model=given.model, recipe=given.recipe, classes=given.classes)


if __name__ == "__main__":
    main()
