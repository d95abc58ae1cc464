"""Schemas of models, versions, learned classes, aliases and forgetting reports."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import AliasPath, Field

from api.datasets.schemas import DatasetVersionView, DatasetView, ReceiptView
from api.http.schemas import Name, Number, Reason, Reference, RequestModel, ResponseModel
from api.jobs.orders import RecipeFields
from api.jobs.schemas import DatasetVersionRef, JobView
from core.engines.rules import Engine, EngineCheck
from core.gate.rules import Verdict
from core.registry.aliases import MoveKind
from core.registry.verdicts import VersionVerdict
from core.registry.versions import Model, ServingPrecision, Version, VersionStatus
from core.values import SuiteId


class NewModel(RequestModel):
    """A model to create from a base, which becomes its root, version 1."""

    name: Name = Field(examples=["demo"])
    base: str = Field(
        "bundled",
        max_length=500,
        examples=["bundled", "ViT-B-32:laion2b_s34b_b79k"],
        description="'bundled', an open_clip 'name:pretrained', a folder that open_clip or "
        "transformers have written, or 'name:/path' of an open_clip architecture and a file of its "
        "weights. Folder and file lie in a root folder of the service.",
    )
    suites: list[Reference] = Field(default_factory=list, max_length=50)
    policy: Reference = "default"


class ModelChange(RequestModel):
    """New suites, policy or default recipe for the model's next versions; absent fields stay."""

    suites: list[Reference] | None = Field(None, max_length=50)
    policy: Reference | None = None
    default_recipe: RecipeFields | None = Field(
        None,
        examples=[{"learning_rate": 3e-6, "epochs": 4}],
        description="Fields that differ from the default recipe by size, or a preset in its place; "
        "null or {} restores the default by size.",
    )
    force: bool = Field(
        False,
        description="Choose a default recipe whose learning rate is more than ten times that of "
        "the default by size.",
    )
    reason: Reason = Field(
        "",
        description="Required to choose another policy or to take a suite away; kept in the audit "
        "log.",
    )


class DefaultRecipeView(ResponseModel):
    """The recipe that a model's updates have where their orders leave fields out."""

    name: str = Field(
        examples=["base"],
        description="`small`, `base`, `large` or `huge` by the number of parameters, or `own` if "
        "an operator has chosen it.",
    )
    source: str = Field(description="Where its values are from, and whether they were measured.")
    fields: dict[str, Any] = Field(
        examples=[{"learning_rate": 1e-5, "optimiser": "adamw", "replay_weight": 2.0}],
        description="Those that differ from the `default`s in the schema of recipes.",
    )


class ModelView(ResponseModel):
    """A model."""

    id: str = Field(examples=["model_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    name: str = Field(examples=["demo"])
    suites: list[str] = Field(examples=[["unseen-emoji"]])
    policy: str = Field(examples=["default"])
    aliases: dict[str, int] = Field(examples=[{"production": 1}])
    default_recipe: DefaultRecipeView | None = Field(
        description="Null while the root is being imported: an update that is ordered then gets it "
        "when it starts."
    )
    created_at: datetime


class OriginView(ResponseModel):
    """The version of another service that a version was imported as."""

    model: str = Field(description="The model's name there.")
    version: int = Field(description="Its number there.")
    signed_by: str = Field(description="The trusted key's name in PERENNIAL_TRUSTED_KEYS.")
    key_id: str = Field(description="SHA-256 of that key.")
    bundle: str = Field(description="SHA-256 of the bundle.")


class VersionSummaryView(ResponseModel):
    """A version of a model, without what its training was told and found."""

    model: str = Field(examples=["demo"])
    version: int = Field(validation_alias="number", examples=[2])
    status: VersionStatus
    verdict: Verdict | None = Field(
        description="The worst verdict that counts: that of the newest evaluation, or one that "
        "covers the model's policy and suites beside the parent or what is live. `verdicts` lists "
        "all with what each covers."
    )
    overridden: bool = Field(description="Whether an alias ever moved to it by override.")
    digest: str
    size: int = Field(
        description="Size of all its tensors in bytes, including those shared with other versions."
    )
    precision: ServingPrecision = Field(
        description="The numbers that it is scored and served in; its tensors are fp32 all the "
        "same, and those of a version that a conversion made are its parent's."
    )
    parent: int | None
    job: str
    dataset: str | None
    dataset_version: int | None
    update_classes: list[str]
    taught_captions: bool = Field(
        description="Whether its update taught captions, in place of classes or beside them."
    )
    captions: DatasetVersionRef | None = Field(
        description="The dataset version whose captions were taught beside its classes, if any."
    )
    classes: list[str] = Field(description="All classes learned from the root up to this version.")
    prompt: str = Field(validation_alias=AliasPath("prompt", "text"))
    exact: bool | None = Field(
        description="Whether training again in `environment` gives bit-identical weights. Null for "
        "a root or a conversion, "
        "and for a version made before `environments` were recorded."
    )
    reference: DatasetVersionRef | None
    created_at: datetime
    collected_at: datetime | None = Field(
        description="When its weights were deleted; null while they are kept."
    )
    erasure: str | None = Field(
        description="The first erasure of an image that it, or a version that it was trained from, "
        "has learned from: then it is neither promoted nor trained further. Null otherwise."
    )
    next_step: str | None = Field(
        description="What to do about it, if an alias points at it nevertheless; null otherwise.",
        examples=["Promote version 5, which replaces it."],
    )
    replaces: int | None = Field(
        description="The version that this one repeats without erased images; null otherwise."
    )
    imported_from: OriginView | None = Field(
        validation_alias="origin", description="Null unless it was imported from a bundle."
    )
    links: dict[str, str]


class EnginesView(ResponseModel):
    """The worker's finding on which engines may serve a version on a CPU in the place of torch."""

    serving: list[Engine] = Field(
        description="The engines that may serve the version. In fp32 their features are those of "
        "torch: whichever of them and torch has scored the version, any may serve it, and each "
        "server takes the fastest that it has. If empty, torch alone scores and serves a version "
        "in fp32, and nothing one in another precision."
    )
    cosines: dict[str, float | None] = Field(
        description="By engine, the least cosine of its features with those by torch in fp32. "
        "Exact ones have at least 0.999999. Null if the engine cannot run the version.",
        examples=[{"onnx": 0.99999988}],
    )
    problem: str | None = Field(description="Why none of them serves it; null if one may.")


class VersionView(VersionSummaryView):
    """A version of a model."""

    engines: EnginesView | None = Field(
        description="Null if no worker has looked: then torch serves it in fp32, and nothing in "
        "another precision."
    )
    recipe: dict[str, Any] | None = Field(
        description="With every field; `precision` is the one that was used, never 'auto'."
    )
    environment: dict[str, str] = Field(
        description="Libraries, device and threads at the end of training.",
        examples=[{"torch": "2.6.0", "device": "cpu (AMD EPYC, AVX512, bf16)", "threads": "2"}],
    )
    environments: list[dict[str, str]] = Field(
        description="Every environment of the training, in order. There are several if training "
        "resumed in a different environment. An empty one was not recorded."
    )
    notes: dict[str, Any] = Field(
        description="What training chose automatically. With mixing choice `fit`, `mixing` is the "
        "share of the step that was kept, and `shrunk` says why in a sentence.",
        examples=[{"mixing": 0.6, "tried": [{"mixing": 0.6, "new": 0.71, "kept": 0.66}]}],
    )


def version_view(
    summary: VersionSummaryView, version: Version, check: EngineCheck | None
) -> VersionView:
    """Return the view of a version, of which this is the view in a list."""
    return VersionView(
        **vars(summary),
        engines=check and EnginesView.of(check),
        recipe=version.recipe and version.recipe.to_json(),
        environment=dict(version.environment),
        environments=[dict(one) for one in version.environments],
        notes=version.notes,
    )


def version_summary(
    version: Version, *, model: str, overridden: bool, next_step: str | None
) -> VersionSummaryView:
    """Return the view of a version in a list; `model` is the model's name."""
    here = f"/v1/models/{model}/versions/{version.number}"
    links = {"self": here}
    if version.collected_at is None and version.erasure is None:
        links["download"] = f"{here}/download"
    if version.report is not None:
        links["forgetting"] = f"{here}/forgetting"
        links["verdicts"] = f"{here}/verdicts"
    if version.erasure is not None:
        links["erasure"] = f"/v1/erasures/{version.erasure}"
    if version.origin is not None:
        links["origin"] = f"{here}/origin"
    return VersionSummaryView.of(
        version, model=model, overridden=overridden, next_step=next_step, links=links
    )


class VersionVerdictView(ResponseModel):
    """A verdict of the gate on a version, with what it covers."""

    beside: int = Field(
        description="The version whose replacement it is about: the parent, or one that was live.",
        examples=[1],
    )
    verdict: Verdict
    policy: str = Field(examples=["default"])
    suites: list[str] = Field(examples=[["unseen-emoji"]])
    updates: list[int] = Field(
        description="Versions whose updates it was asked about though it does not descend from "
        "them: the version beside which it was judged descends from them, or has replaced them.",
        examples=[[]],
    )
    in_force: bool = Field(
        description="Whether it is about the model's policy and all of its suites, as they are "
        "now, about all images added to the holdouts of the version's line, and about its "
        "ancestors that have gone live by a passing verdict."
    )
    images: int = Field(description="Test images that were judged.", examples=[1461])
    job: str = Field(description="The job that evaluated the version.")
    at: datetime
    links: dict[str, str]


def verdict_view(
    verdict: VersionVerdict,
    model: Model,
    names: Mapping[str, str],
    added: Collection[SuiteId],
    settled: Collection[int],
) -> VersionVerdictView:
    """Return the view of a verdict; `names` are those of its suites and of its policy, by id.

    `added` are the images that were added to the holdouts of the version's line, and `settled` its
    ancestors that have gone live by a passing verdict.
    """
    here = f"/v1/models/{model.name}/versions/{verdict.version}"
    return VersionVerdictView.of(
        verdict,
        policy=names[verdict.policy],
        suites=[names[suite] for suite in verdict.suites],
        in_force=verdict.covers(model, added, settled),
        links={"forgetting": f"{here}/forgetting?job={verdict.job}"},
    )


ReportJob = Annotated[
    str | None,
    Query(
        max_length=100,
        description="The job that evaluated the version, whose report to return (default: that of "
        "the version's `verdict`).",
    ),
]


class LearnedClass(ResponseModel):
    """A class and the version that last learned it."""

    name: str = Field(alias="class", examples=["okapi"])
    version: int = Field(examples=[2])


class LearnedView(ResponseModel):
    """The classes that the version of an alias has learned."""

    model: str
    version: int
    digest: str
    data: list[LearnedClass]


class StartView(ResponseModel):
    """The job, dataset version and receipts of one call that teaches classes."""

    job: JobView
    dataset: DatasetView
    dataset_version: DatasetVersionView
    files: list[ReceiptView]


# Aliases and their moves.


class Promotion(RequestModel):
    """A promotion: the version that the alias is to point at."""

    version: Number = Field(examples=[2])
    reason: Reason = ""
    override: bool = Field(
        False,
        description="Promote a version although no verdict lets it go live; needs a reason. A "
        "version that any verdict has failed, or that learned from erased images, takes an admin. "
        "An operator overrides a missing verdict beside what is live, or one that is stale because "
        "suites or policy have changed, or an index that has no vectors for the version: its "
        "searches stay with the version that they have. An inconclusive verdict takes a reason "
        "alone.",
    )
    decided_on: str | None = Field(
        None,
        max_length=64,
        description="That of the preview that somebody has decided by. If the gate says something "
        "else by now, nothing is moved: 412 `stale_preview`.",
    )


class PromotionRefusal(ResponseModel):
    """The refusal that a promotion would meet."""

    code: str = Field(examples=["gate_failed"])
    detail: str = Field(validation_alias="message")


class PreviewView(ResponseModel):
    """The outcome that a promotion without a reason would have now."""

    version: int = Field(examples=[2])
    live: int | None = Field(examples=[1], description="What the alias points at; null: nothing.")
    revision: int = Field(examples=[2], description="The ETag of the alias; 0: there is none.")
    verdict: Verdict | None = Field(
        description="The verdict that decides, beside what is live or the parent; null: none does."
    )
    refusal: PromotionRefusal | None = Field(
        description="Null: the version goes live without a reason, or is live."
    )
    decided_on: str = Field(
        description="Stands for this verdict, its report and the refusal. A promotion that sends "
        "it is refused if the gate says something else by then."
    )


class Rollback(RequestModel):
    """A rollback to the version that was live before, or to a named earlier one."""

    reason: Reason = Field(examples=["boots are called sandals"])
    to: Number | None = Field(
        None,
        examples=[1],
        description="Default: the version live before, skipping versions that have failed beside "
        "their parent or went live by override alone.",
    )
    override: bool = Field(
        False,
        description="Roll back to a version that has failed beside its parent, that learned from "
        "erased images, or that was live by override alone; it must be named. One that any verdict "
        "has failed, or that learned from erased images, takes an admin. One for which an index "
        "has no vectors need not be named, and takes an operator.",
    )


class AliasView(ResponseModel):
    """An alias and the version that it points at."""

    model: str = Field(examples=["demo"])
    alias: str = Field(validation_alias="name", examples=["production"])
    version: int = Field(examples=[2])
    digest: str
    revision: int = Field(examples=[2], description="The ETag; increases with every move.")
    updated_at: datetime


class MoveView(ResponseModel):
    """A move of an alias."""

    revision: int = Field(examples=[2])
    kind: MoveKind
    from_version: int | None = Field(examples=[1])
    to_version: int = Field(examples=[2], description="0 for the move that deleted the alias.")
    reason: str
    actor: str = Field(examples=["admin"])
    at: datetime
    override: bool = Field(
        description="Whether the gate would have refused this move without the override."
    )
    verdict: Verdict | None = Field(
        description="The gate's verdict that decided then; null if none had to, or none was there.",
        examples=["passed"],
    )
