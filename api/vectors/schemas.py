"""Schemas of stored vectors, and of reports on old indexes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.http.schemas import Number, Reference, RequestModel, ResponseModel
from core.values import Json
from core.vectors.rules import IndexReport, IndexVerdict, Search
from core.vectors.stored import StoredVectors


class NewVectors(RequestModel):
    """An order to store the vectors of a dataset version's images."""

    dataset: Reference = Field(examples=["products"], description="Name or id of the dataset.")
    dataset_version: Number = Field(examples=[1])


class VectorsView(ResponseModel):
    """The vectors of a dataset version's images by a version of a model."""

    model: str = Field(examples=["demo"])
    version: int = Field(examples=[3])
    digest: str = Field(description="Of the version: store it with your index.")
    dataset: str = Field(examples=["products"])
    dataset_version: int = Field(examples=[1])
    artifact: str = Field(description="SHA-256 of the .npy file, and its ETag.")
    size: int = Field(examples=[4_096_128], description="Bytes of the .npy file.")
    rows: int = Field(examples=[8000], description="Images, sorted by the digests of their pixels.")
    width: int = Field(examples=[128])
    job: str = Field(description="The job that has computed them.")
    created_at: datetime
    links: dict[str, str]


def vectors_view(stored: StoredVectors, *, model: str, dataset: str) -> VectorsView:
    """Return the view of stored vectors."""
    version = f"/v1/models/{model}/versions/{stored.version}"
    here = f"{version}/vectors/{dataset}/{stored.dataset_version}"
    links = {
        "self": here,
        "download": f"{here}/download",
        "images": f"{here}/images",
        "version": version,
        "job": f"/v1/jobs/{stored.job}",
    }
    return VectorsView.of(stored, model=model, dataset=dataset, links=links)


class VectorsList(ResponseModel):
    """The vectors by a version, by dataset and dataset version."""

    data: list[VectorsView]


class NewComparison(RequestModel):
    """An order to search by a version in an index of another version's vectors."""

    baseline: Number | None = Field(
        None,
        alias="from",
        examples=[1],
        description="The version whose vectors are in the index. Default: the version's parent.",
    )


class LossView(ResponseModel):
    """An index's loss of recall@10 against a re-embedded one, with an interval of 95 %."""

    value: float = Field(examples=[0.013])
    lower: float = Field(examples=[0.004])
    upper: float = Field(examples=[0.024])


class SearchMeasureView(ResponseModel):
    """A search by the new version in three indexes of the same images."""

    suite: str = Field(examples=["emoji"])
    search: Search
    queries: int = Field(examples=[1472])
    judged: bool = Field(description="False: there are too few queries for a verdict.")
    raw: float = Field(examples=[0.702], description="Mean recall@10 in the old index.")
    bridged: float = Field(examples=[0.721], description="In the old index, mapped by the bridge.")
    reembedded: float = Field(examples=[0.734], description="In an index of the new version.")
    raw_loss: LossView
    bridged_loss: LossView


class SuiteVectorsView(ResponseModel):
    """A comparison of the vectors of a suite's test images; cosines and shares are means."""

    suite: str
    images: int
    cosine: float
    bridged_cosine: float
    neighbours_kept: float = Field(
        description="Share of an image's ten nearest that are the same within both versions."
    )
    neighbours_found: float = Field(
        description="Share of the ten nearest in a re-embedded index that the new version finds in "
        "the old one."
    )
    bridged_neighbours_found: float


class BridgeView(ResponseModel):
    """A map of old vectors to new ones."""

    artifact: str = Field(description="SHA-256 of the safetensors file, and its ETag.")
    size: int = Field(examples=[66_200], description="Bytes.")
    kind: str = Field(examples=["orthogonal"])
    images: int = Field(
        examples=[412], description="Of the suites' validation parts, that it was fitted on."
    )
    scores: dict[str, float] = Field(
        description="Mean cosine of each candidate on folds that it was not fitted on."
    )


class CompatibilityView(ResponseModel):
    """A verdict on an index of an old version's vectors, searched by another version."""

    model: str = Field(examples=["demo"])
    version: int = Field(examples=[3])
    digest: str
    baseline: int = Field(alias="from", examples=[1])
    from_digest: str
    verdict: IndexVerdict = Field(
        description="The least work that surely loses at most `tolerance` of recall@10 in every "
        "search that is judged: nothing, the bridge, or re-embedding; uncertain if the intervals "
        "do not tell."
    )
    reason: str
    depth: int = Field(examples=[10], description="Results of a search.")
    tolerance: float = Field(examples=[0.02])
    least_queries: int = Field(examples=[100])
    searches: list[SearchMeasureView]
    vectors: list[SuiteVectorsView]
    bridge: BridgeView
    job: str
    created_at: datetime
    links: dict[str, str]


def compatibility_view(row: IndexReport, report: Json) -> CompatibilityView:
    """Return the view of a stored report."""
    version = f"/v1/models/{report['model']}/versions/{row.version}"
    here = f"{version}/compatibility/{row.baseline}"
    links = {
        "self": here,
        "bridge": f"{here}/bridge",
        "map": f"{here}/map",
        "version": version,
        "job": f"/v1/jobs/{row.job}",
    }
    return CompatibilityView.model_validate(
        {**report, "job": row.job, "created_at": row.created_at, "links": links}
    )


class CompatibilityList(ResponseModel):
    """The reports of a version, by the version that each compares it with."""

    data: list[CompatibilityView]


_Point = Annotated[Sequence[float], Field(min_length=2, max_length=2)]


class MappedImageView(ResponseModel):
    """A test image, and where two versions put it."""

    pixels: str = Field(description="SHA-256 of the image's decoded pixels.")
    class_name: str | None = Field(
        alias="class", examples=["okapi"], description="Null in a captioned suite."
    )
    before: _Point = Field(examples=[[0.12, -0.3]], description="By `from`.")
    now: _Point = Field(examples=[[0.2, -0.25]], description="By `version`.")


class EmbeddingMapView(ResponseModel):
    """The test images of a suite or holdout on two axes, or an even sample of many."""

    suite: str = Field(examples=["emoji"])
    count: int = Field(examples=[1472], description="Test images, of which at most 300 are mapped.")
    explained: _Point = Field(
        examples=[[0.31, 0.12]],
        description="Share of the variance of both versions' embeddings along each axis.",
    )
    images: list[MappedImageView]


class EmbeddingMaps(ResponseModel):
    """The maps of two versions' embeddings, by suite and holdout."""

    model: str = Field(examples=["demo"])
    version: int = Field(examples=[3])
    baseline: int = Field(alias="from", examples=[1])
    data: list[EmbeddingMapView] = Field(
        description="Empty if no suite and no holdout has two test images."
    )
