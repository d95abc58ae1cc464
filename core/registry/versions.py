"""Models, their versions, and the weights of these."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from math import prod
from typing import Any

from core import errors
from core.datasets.rules import DatasetRef
from core.gate.rules import Verdict
from core.recipes.defaults import DefaultRecipe
from core.recipes.fields import ModelPart, PromptTemplate
from core.recipes.rules import Recipe
from core.registry.image_tops import is_below_top
from core.values import (
    DatasetId,
    Digest,
    ErasureId,
    JobId,
    Json,
    ModelId,
    PolicyId,
    SuiteId,
    canonical_json,
    sha256,
)

# How the names of text towers' embeddings of tokens end: open_clip's, and those of transformers.
TOKEN_EMBEDDINGS = ("token_embedding.weight", "word_embeddings.weight", "embed_tokens.weight")


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """One tensor of a version: its raw little-endian bytes are the artifact `digest`."""

    name: str
    dtype: str  # safetensors' names: "F32", "I64", ...
    shape: tuple[int, ...]
    digest: Digest
    size: int  # bytes


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A version's content: the open_clip config and its sorted tensors.

    The canonical JSON of this list is itself an artifact, and its SHA-256 is the version's
    digest. So the digest covers config and tensors but no file layout, and two versions
    share the bytes of every tensor that they have in common.
    """

    config: Json  # {"model_cfg": ..., "preprocess_cfg": ...} as in open_clip_config.json
    tensors: tuple[TensorEntry, ...]

    def to_bytes(self) -> bytes:
        """Return the canonical JSON that the digest is computed from."""
        rows = [[t.name, t.dtype, list(t.shape), t.digest, t.size] for t in self.tensors]
        return canonical_json({"config": self.config, "tensors": sorted(rows)})

    @property
    def digest(self) -> Digest:
        """The version's digest."""
        return sha256(self.to_bytes())

    @property
    def size(self) -> int:
        """The bytes of all tensors, shared or not."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """The count of numbers in all tensors but those of bytes, such as a tokenizer's file."""
        return sum(prod(tensor.shape) for tensor in self.tensors if tensor.dtype != "U8")

    @property
    def tower_parameters(self) -> int:
        """The same without the embeddings of tokens, which grow with the vocabulary alone."""
        embeddings = [one for one in self.tensors if one.name.endswith(TOKEN_EMBEDDINGS)]
        return self.parameters - sum(prod(tensor.shape) for tensor in embeddings)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Weights":
        """Return the weights that `to_bytes` wrote."""
        value: dict[str, Any] = json.loads(data)
        return cls(
            config=value["config"],
            tensors=tuple(
                TensorEntry(name=name, dtype=dtype, shape=tuple(shape), digest=digest, size=size)
                for name, dtype, shape, digest, size in value["tensors"]
            ),
        )


class ServingPrecision(StrEnum):
    """The numbers that a version is computed with; its tensors are stored in fp32 all the same."""

    FP32 = "fp32"
    BF16 = "bf16"


def precision_of(config: Json) -> ServingPrecision:
    """Return the precision that a version is scored and served with, by its config."""
    return ServingPrecision(config.get("precision", ServingPrecision.FP32))


def in_precision(weights: Weights, precision: ServingPrecision) -> Weights:
    """Return the same tensors with the config of a precision; fp32 is that of a config without."""
    config = {name: value for name, value in weights.config.items() if name != "precision"}
    if precision is not ServingPrecision.FP32:
        config["precision"] = precision.value
    return replace(weights, config=config)


class VersionStatus(StrEnum):
    """The status of a version."""

    CANDIDATE = "candidate"  # not yet judged, or judged inconclusive
    REJECTED = "rejected"  # failed the gate
    PROMOTED = "promoted"  # went live at least once, whatever has come since; or a root


@dataclass(frozen=True, kw_only=True)
class Model:
    """A named series of versions, with the suites and the policy that they are scored by."""

    id: ModelId
    name: str
    suites: tuple[SuiteId, ...]
    policy: PolicyId
    sized_recipe: DefaultRecipe | None = None  # by its size, once its root is imported
    own_recipe: Json = field(default_factory=dict)  # an operator's fields; if any, in its place
    created_at: datetime

    @property
    def default_recipe(self) -> DefaultRecipe | None:
        """The recipe that orders of its updates have where they leave fields out."""
        if not self.own_recipe:
            return self.sized_recipe
        return DefaultRecipe(
            name="own", source="Chosen by an operator for this model.", fields=self.own_recipe
        )


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The origin of an imported version, as its signed bundle states it."""

    model: str  # its name there
    version: int  # its number there
    signed_by: str  # the name of the trusted key
    key_id: str
    bundle: Digest  # of the bundle's file
    record: Digest  # artifact: its line, suites, policy and reports there
    # The weights that it was trained from, and the manifests that its line learned from, there.
    learned_from: tuple[Digest, ...] = ()

    @classmethod
    def of(cls, stored: Json) -> "Origin":
        """Return the origin that was stored with a version."""
        return cls(**{**stored, "learned_from": tuple(stored["learned_from"])})


@dataclass(frozen=True, kw_only=True)
class Descent:
    """The numbers of the versions that another one was trained from, and replaces."""

    parent: int | None  # None: a root
    replaces: int | None = None


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a model. Number 1 is the root."""

    model: ModelId
    number: int
    status: VersionStatus = VersionStatus.CANDIDATE
    digest: Digest
    size: int  # bytes of all its tensors
    precision: ServingPrecision = ServingPrecision.FP32  # by its config
    parent: int | None = None
    job: JobId
    recipe: Recipe | None = None  # None: a root or a conversion
    dataset: DatasetId | None = None
    dataset_version: int | None = None
    update_classes: tuple[str, ...] = ()  # taught by this update
    classes: tuple[str, ...] = ()  # learned by the lineage up to here, oldest first
    prompt: PromptTemplate
    verdict: Verdict | None = None
    report: Digest | None = None  # artifact with the report's JSON
    environment: Mapping[str, str] = field(default_factory=dict)  # libraries, threads, device
    environments: tuple[Mapping[str, str], ...] = ()  # all that its training ran in
    captions: DatasetRef | None = None  # what was taught beside the classes of its dataset
    reference: DatasetRef | None = None  # the reference set that method "zscl" distilled
    notes: Json = field(default_factory=dict)  # what training chose by itself
    feature_statistics: Mapping[str, Digest] = field(default_factory=dict)  # by class, to replay
    created_at: datetime
    collected_at: datetime | None = None  # when its weights were given to collection; None: kept
    erasure: ErasureId | None = None  # the first that has erased an image it learned from
    replaces: int | None = None  # the version that was trained again, without erased images
    origin: Origin | None = None  # of a version that was imported from a bundle

    @property
    def is_root(self) -> bool:
        """True for the model's first version."""
        return self.parent is None

    @property
    def is_conversion(self) -> bool:
        """True if it has its parent's tensors, and another precision: it was taught nothing."""
        return not (self.is_root or self.update_classes or self.origin or self.data)

    @property
    def taught_captions(self) -> bool:
        """True if it was taught captions, in place of classes or beside them."""
        return self.captioned_data is not None

    @property
    def data(self) -> DatasetRef | None:
        """The dataset version that its order names, None for a root or a conversion."""
        if self.dataset is None or self.dataset_version is None:
            return None
        return DatasetRef(dataset=self.dataset, version=self.dataset_version)

    @property
    def classed_data(self) -> DatasetRef | None:
        """The dataset version of whose classes it was taught."""
        return self.data if self.update_classes else None

    @property
    def captioned_data(self) -> DatasetRef | None:
        """The dataset version of whose captions it was taught."""
        return self.captions if self.update_classes else self.data

    @property
    def taught(self) -> tuple[DatasetRef, ...]:
        """All dataset versions that it was taught with."""
        return tuple(one for one in (self.data, self.captions) if one is not None)

    @property
    def exact(self) -> bool | None:
        """True if a repeat in `environment` is bit-exact; None if unknown.

        It is if training never resumed from a checkpoint of another environment.
        """
        return len(self.environments) == 1 if self.environments else None

    def judged(self, verdict: Verdict, report: Digest) -> "Version":
        """Return the version with a new report; a failed gate rejects it unless it was live."""
        failed = verdict is Verdict.FAILED
        status = VersionStatus.REJECTED if failed else VersionStatus.CANDIDATE
        if self.status is VersionStatus.PROMOTED:
            status = self.status
        return replace(self, verdict=verdict, report=report, status=status)

    def require_weights(self) -> None:
        """Raise ArtifactGone if the weights were released for collection."""
        if self.collected_at is not None:
            raise errors.ArtifactGone(
                version=self.number, collected_at=self.collected_at.isoformat()
            )

    def require_clean(self) -> None:
        """Raise LearnedErasedImages if an image that the version learned from was erased."""
        if self.erasure is not None:
            raise errors.LearnedErasedImages(
                f"Version {self.number} learned from images that were erased since: train and "
                "promote the version that replaces it.",
                version=self.number,
                erasure=self.erasure,
            )

    def require_prompt(self, prompt: str | None) -> None:
        """Raise FieldInvalid if a child would answer callers in another prompt than was judged.

        Of a version that has learned nothing, a child may choose the prompt of its line.
        """
        if self.classes and prompt not in {None, self.prompt.text}:
            raise errors.FieldInvalid(
                f"Version {self.number} has learned its classes in the prompt "
                f"{self.prompt.text!r}, in which they are guarded: leave `prompt` out. "
                "A classification may name another prompt.",
                pointer="/prompt",
            )

    def went_live(self) -> "Version":
        """Return the version as promoted, after an alias has moved to it."""
        return replace(self, status=VersionStatus.PROMOTED)


def version_path(model: ModelId, version: int) -> str:
    """Return the path of a version in the API."""
    return f"/v1/models/{model}/versions/{version}"


# The image tower of a version.

OTHER_IMAGE_TOWER = (
    "Features cannot be replayed: the teacher's image tower is not the parent's, because an "
    "earlier update has trained it. Choose teacher 'parent', or feature_replay 0."
)


def require_same_images(teacher: Weights, parent: Weights, part: ModelPart) -> None:
    """Raise ModelNotTrainable if a teacher would see images in another way than the parent.

    With part `top` it may above what statistics describe.
    """
    if _tensors(teacher, part) != _tensors(parent, part):
        raise errors.ModelNotTrainable(OTHER_IMAGE_TOWER, pointer="/recipe/teacher")


def _tensors(weights: Weights, part: ModelPart) -> dict[str, Digest]:
    below = part is ModelPart.TOP
    return {
        tensor.name: tensor.digest
        for tensor in weights.tensors
        if (is_below_top(tensor.name) if below else tensor.name.startswith("visual."))
    }
