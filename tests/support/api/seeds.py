"""Models with versions, put into a service without training anything."""

from dataclasses import replace

from core.database.work import Work
from core.evaluation.report import Report
from core.gate.policies import DEFAULT_POLICY
from core.gate.rows import Policies
from core.gate.rules import Verdict
from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.platform import Platform
from core.registry.aliases import PRODUCTION, MoveKind
from core.registry.default_recipe import default_recipe
from core.registry.promote import point_alias
from core.registry.read import ancestors
from core.registry.requirements import let_live
from core.registry.rows import Models
from core.registry.verdict_rows import Verdicts
from core.registry.verdicts import VersionVerdict
from core.registry.version_rows import Versions
from core.registry.versions import (
    Model,
    Origin,
    ServingPrecision,
    TensorEntry,
    Version,
    VersionStatus,
    Weights,
)
from core.trials.rows import TrialSamples
from core.trials.rules import Sample
from core.values import Digest, Json, PredictionId, TrialId, canonical_json
from tests.support.factories import NOW, a_job, a_model, a_version

FORGOT: Json = {"measures": [{"name": "emoji"}], "reasons": ["It forgot."]}


def a_root(
    platform: Platform,
    name: str = "demo",
    model_cfg: Json | None = None,
    *,
    weights: Weights | None = None,
) -> Model:
    """A model whose root is live as `production`; its architecture or weights, if they matter."""
    with platform.transactions() as work:
        model = a_model(work[Policies].get(DEFAULT_POLICY), name=name)
        work[Models].add(model)
        job = a_job(model).succeed({}, NOW)
        work[Jobs].add(job)
        number = work[Versions].next_number(model.id)
        weights = weights or some_weights(platform, number, model_cfg)
        root = a_version(
            job, number, status=VersionStatus.PROMOTED, digest=weights.digest, size=weights.size
        )
        work[Versions].add(root)
        sized = default_recipe(weights.config["model_cfg"], weights.parameters)
        work[Models].set_sized_recipe(model.id, sized)
        point_alias(
            work,
            None,
            name=PRODUCTION,
            to=root,
            kind=MoveKind.CREATED,
            reason="imported",
            actor="import",
            now=NOW,
        )
        work.commit()
    return replace(model, sized_recipe=sized)


def with_parameters(platform: Platform, model: str, parameters: int) -> None:
    """Give a model the default recipe of one with a vision transformer of CLIP's of this size."""
    with platform.transactions() as work:
        found = work[Models].get(model)
        work[Models].set_sized_recipe(found.id, default_recipe({}, parameters))
        work.commit()


def a_candidate(
    platform: Platform,
    model: Model,
    *,
    verdict: Verdict | None = None,
    report: Report | None = None,
    parent: int = 1,
    teaches: tuple[str, ...] = (),
    precision: ServingPrecision = ServingPrecision.FP32,
    weights_of: int | None = None,
    origin: Origin | None = None,
) -> Version:
    """A version trained from another one; judged, if a verdict is given.

    It has weights of its own, or those of another candidate.
    """
    with platform.transactions() as work:
        job = a_job(model).succeed({}, NOW)
        work[Jobs].add(job)
        number = work[Versions].next_number(model.id)
        weights = some_weights(platform, weights_of or number)
        before = work[Versions].get(model.id, parent)
        put = platform.artifacts.put
        statistics = {name: put(f"features of {name}".encode()) for name in teaches}
        version = a_version(
            job,
            number,
            parent=parent,
            digest=weights.digest,
            size=weights.size,
            update_classes=teaches,
            classes=tuple(dict.fromkeys(before.classes + teaches)),
            feature_statistics={**before.feature_statistics, **statistics},
            precision=precision,
            origin=origin,
        )
        work[Versions].add(version)
        if verdict is not None:
            version = a_verdict(platform, work, version, verdict, report)
        work.commit()
    return version


def some_weights(platform: Platform, seed: int, model_cfg: Json | None = None) -> Weights:
    """Weights of two tensors, stored."""
    tensors = []
    for name, width in (("visual.proj", 4), ("text.bias", 1)):
        data = bytes([seed]) * 4 * width
        digest = platform.artifacts.put(data)
        tensors.append(
            TensorEntry(name=name, dtype="F32", shape=(width,), digest=digest, size=len(data))
        )
    weights = Weights(
        config={"model_cfg": model_cfg or {}, "preprocess_cfg": {}}, tensors=tuple(tensors)
    )
    platform.artifacts.put(weights.to_bytes())
    return weights


def a_sample(
    platform: Platform,
    trial: str,
    data: bytes = b"RIFF",
    answer: str = "boot",
    pixels: str = "a" * 64,
) -> Sample:
    """A sample of a trial, about which the candidate said bag; its bytes are stored."""
    sample = Sample(
        trial=TrialId(trial),
        pixels=Digest(pixels),
        artifact=platform.artifacts.put(data),
        prediction=PredictionId("pred_1"),
        answer=answer,
        shadow_answer="bag",
        at=platform.clock(),
        size=len(data),
    )
    with platform.transactions() as work:
        work[TrialSamples].add(sample)
        work.commit()
    return sample


def a_verdict(
    platform: Platform,
    work: Work,
    version: Version,
    verdict: Verdict,
    report: Report | None = None,
    *,
    beside: int | None = None,
    job: Job | None = None,
    images: int = 100,
) -> Version:
    """Record a verdict beside a version, or the parent, that covers what is in force."""
    model = work[Models].get(version.model)
    stored = platform.artifacts.put(report.to_bytes() if report else canonical_json(FORGOT))
    line, passed = ancestors(work, version), let_live(work, model)
    found = VersionVerdict(
        model=model.id,
        version=version.number,
        beside=beside or version.parent or 0,
        policy=model.policy,
        suites=tuple(sorted(model.suites)),
        settled=tuple(one.number for one in line[1:] if one.number in passed),
        verdict=verdict,
        report=stored,
        images=images,
        job=job.id if job else version.job,
        at=NOW,
    )
    work[Verdicts].add(found)
    version = version.judged(verdict, stored)
    work[Versions].save(version)
    return version
