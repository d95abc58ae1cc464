"""Domain objects with everything filled in; a test names only what it is about."""

import functools
import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from core.access.rules import ApiKey
from core.datasets.manifests import Manifest, ManifestEntry, Side, Split
from core.datasets.rules import (
    Dataset,
    DatasetImage,
    DatasetKind,
    DatasetVersion,
    Image,
    Suite,
    SuiteKind,
)
from core.engines.rules import Comparison, Engine, EngineCheck
from core.gate.rules import GatePolicy
from core.jobs.orders import ImportOrder, JobType
from core.jobs.rules import Job, model_of
from core.principal import Principal, Role
from core.recipes.fields import DEFAULT_PROMPT
from core.registry.aliases import Alias, AliasMove, MoveKind
from core.registry.versions import Model, Origin, ServingPrecision, Version
from core.trials.rules import Arm, Prediction, Trial, TrialMode
from core.values import (
    DatasetId,
    Digest,
    JobId,
    KeyId,
    ModelId,
    PolicyId,
    PredictionId,
    SuiteId,
    TrialId,
    sha256,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

TESTER = Principal(name="tests", role=Role.ADMIN)

_numbers = itertools.count(1)

BY_DIGEST = Split()
side_of, part_of = BY_DIGEST.side_of, BY_DIGEST.part_of


def an_entry(**fields: Any) -> ManifestEntry:
    """An image where the digest of its group puts it."""
    group = fields.get("near_duplicate_of") or fields["pixels"]
    return ManifestEntry(**{"side": side_of(group), "part": part_of(group)} | fields)


def digest(seed: object) -> Digest:
    """A digest that depends on the seed alone."""
    return sha256(str(seed).encode())


def pixels_on(side: Side, count: int) -> list[Digest]:
    """Digests of images that fall on one side."""
    found = map(_pixels, itertools.count())
    return list(itertools.islice((pixels for pixels, its in found if its is side), count))


@functools.cache
def _pixels(number: int) -> tuple[Digest, Side]:
    pixels = digest(f"pixels {number}")
    return pixels, side_of(pixels)


def by_hash(groups: Iterable[Digest]) -> dict[Digest, Side]:
    """The sides that groups have if the shares of their classes move none."""
    return {group: side_of(group) for group in groups}


def a_key(**changes: Any) -> ApiKey:
    """An admin's key with a name of its own."""
    n = next(_numbers)
    made = ApiKey(id=KeyId(f"key_{n:06}"), name=f"key-{n}", role=Role.ADMIN, created_at=NOW)
    return replace(made, **changes)


def a_dataset(**changes: Any) -> Dataset:
    n = next(_numbers)
    made = Dataset(
        id=DatasetId(f"ds_{n:06}"), name=f"dataset-{n}", kind=DatasetKind.LABELLED, created_at=NOW
    )
    return replace(made, **changes)


def an_image(pixels: Digest, **changes: Any) -> Image:
    made = Image(
        pixels=pixels,
        artifact=digest(f"artifact of {pixels}"),
        width=8,
        height=6,
        size=100,
    )
    return replace(made, **changes)


def a_row(dataset: Dataset, pixels: Digest, text: str) -> DatasetImage:
    return DatasetImage(
        dataset=dataset.id, image=an_image(pixels), text=text, file_label="a.png", added_at=NOW
    )


def a_manifest(dataset: Dataset, texts: dict[Digest, str]) -> Manifest:
    rows = [a_row(dataset, *pair) for pair in texts.items()]
    return Manifest.of(dataset.kind, rows, by_hash(texts), BY_DIGEST)


def a_dataset_version(dataset: Dataset, number: int, manifest: Manifest) -> DatasetVersion:
    return DatasetVersion(
        dataset=dataset.id,
        number=number,
        manifest=sha256(manifest.to_bytes()),
        classes=manifest.classes,
        counts=manifest.counts(),
        images=len(manifest.entries),
        near_duplicates=0,
        created_at=NOW,
    )


def a_suite(**changes: Any) -> Suite:
    n = next(_numbers)
    made = Suite(
        id=SuiteId(f"suite_{n:06}"),
        name=f"suite-{n}",
        kind=SuiteKind.ZERO_SHOT,
        manifest=digest(f"suite {n}"),
        source=digest(f"suite {n}"),
        classes=("cat", "dog"),
        images=2,
        prompt=DEFAULT_PROMPT,
        mirror=False,
        created_at=NOW,
    )
    return replace(made, **changes)


def a_policy(**changes: Any) -> GatePolicy:
    """The default policy under a name of its own."""
    n = next(_numbers)
    return replace(
        GatePolicy(id=PolicyId(f"gate_{n:06}"), name=f"policy-{n}", created_at=NOW), **changes
    )


def a_model(policy: GatePolicy, **changes: Any) -> Model:
    """A model without suites, with a name of its own."""
    n = next(_numbers)
    made = Model(
        id=ModelId(f"model_{n:06}"),
        name=f"model-{n}",
        suites=(),
        policy=policy.id,
        created_at=NOW,
    )
    return replace(made, **changes)


def an_engine_check(weights: Digest, **changes: Any) -> EngineCheck:
    """The check of a version whose features by ONNX Runtime are those by torch."""
    compared = {Engine.ONNX: Comparison(release="1.32.0", cosine=1.0)}
    given = {"architecture": digest("architecture"), "graphs": None, "engines": compared}
    given |= {"precision": ServingPrecision.FP32, "problem": None, "checked_at": NOW}
    return EngineCheck(weights=weights, **(given | changes))


def a_job(model: Model, **changes: Any) -> Job:
    """A queued import of a model."""
    return a_job_of_no_model(**{"lane": model.id, "model": model.id} | changes)


def a_job_of_no_model(lane: str, **changes: Any) -> Job:
    """A queued job that names its own lane."""
    made = Job(
        id=JobId(f"job_{next(_numbers):06}"),
        type=JobType.IMPORT,
        model=None,
        lane=lane,
        order=ImportOrder(base="bundled"),
        created_at=NOW,
    )
    return replace(made, **changes)


def a_version(job: Job, number: int = 1, **changes: Any) -> Version:
    made = Version(
        model=model_of(job),
        number=number,
        digest=digest(f"version {number}"),
        size=1000,
        job=job.id,
        prompt=DEFAULT_PROMPT,
        created_at=NOW,
    )
    return replace(made, **changes)


def an_origin(*learned_from: str) -> Origin:
    """The origin that a bundle states of its version."""
    return Origin(
        model="demo",
        version=3,
        signed_by="lab",
        key_id="k",
        bundle=digest("bundle"),
        record=digest("record"),
        learned_from=tuple(map(Digest, learned_from)),
    )


def a_move(alias: Alias, **changes: Any) -> AliasMove:
    """The history row of an alias's last move."""
    made = AliasMove(
        model=alias.model,
        alias=alias.name,
        revision=alias.revision,
        kind=MoveKind.PROMOTED,
        from_version=None,
        to_version=alias.version,
        reason="",
        actor="tests",
        at=NOW,
    )
    return replace(made, **changes)


def a_trial(**changes: Any) -> Trial:
    """A canary of a tenth that runs."""
    n = next(_numbers)
    made = Trial(
        id=TrialId(f"trial_{n:06}"),
        model=ModelId("model_1"),
        alias="production",
        mode=TrialMode.CANARY,
        share=0.1,
        current=1,
        candidate=2,
        started_by="tests",
        started_at=NOW,
    )
    return replace(made, **changes)


def a_prediction(**changes: Any) -> Prediction:
    """A prediction of a canary, without a label."""
    n = next(_numbers)
    made = Prediction(
        id=PredictionId(f"pred_{n:06}"),
        trial=TrialId("trial_1"),
        mode=TrialMode.CANARY,
        arm=Arm.CURRENT,
        answer="boot",
        at=NOW,
    )
    return replace(made, **changes)
