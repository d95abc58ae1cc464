"""Schemas of indexes outside the service."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.http.schemas import BY_TEXT, Name, Number, Reference, RequestModel, ResponseModel
from core.indexes.keep import Filled, ShownIndex
from core.indexes.rules import IndexMethod, IndexState, IndexStore
from core.values import Digest
from core.vectors.rules import TOLERANCE


class NewIndex(RequestModel):
    """An index that follows an alias. The service learns neither address nor password."""

    name: Name = Field(examples=["shop"])
    alias: Name = Field("production", description="Where it points, the index follows.")
    store: Annotated[IndexStore, BY_TEXT] = Field(
        examples=["pgvector"], description="Kind of the store that the client fills."
    )
    dataset: Reference | None = Field(
        None,
        examples=["products"],
        description="Name or id of the dataset whose images it has. Null: files of the client.",
    )
    allowed_loss: float = Field(
        TOLERANCE,
        ge=0,
        le=1,
        description="The most that recall@10 may lose where vectors of another version are kept or "
        "mapped: the upper end of the interval in a compatibility report's worst search.",
    )


class Filling(RequestModel):
    """The progress of a filler with the vectors for a version."""

    digest: str = Field(
        min_length=64, max_length=64, examples=["8c22a42a" * 8], description="Of the version."
    )
    method: Annotated[IndexMethod, BY_TEXT] = Field(
        examples=["embedded"],
        description="`embedded` by the version; `bridged` or `held` from vectors of `baseline`.",
    )
    baseline: Number | None = Field(None, description="Whose vectors are held or bridged.")
    rows: int = Field(ge=0, le=2**53, examples=[8000], description="Vectors that the store has.")
    total: int = Field(ge=0, le=2**53, examples=[8000], description="Vectors that it is to have.")
    complete: bool = Field(False, description="All are there, and can be searched.")

    def filled(self) -> Filled:
        """Return the state of the filler."""
        return Filled(**{**vars(self), "digest": Digest(self.digest)})


class IndexVersionView(ResponseModel):
    """The vectors that an index has for a version."""

    version: int = Field(examples=[2])
    digest: str
    state: IndexState = Field(
        description="`wanted` for an update that passed the gate; `filling`; `complete`, so that "
        "the alias may move; `live` where the alias points; `retired` where it has pointed."
    )
    wanted: int | None = Field(
        description="The alias's revision while a version that passed the gate waits for these "
        "vectors to go live by itself. Null once the alias has moved, or the key that ordered the "
        "update may move no aliases any more."
    )
    method: IndexMethod | None
    baseline: int | None
    loss: float | None = Field(
        description="Of recall@10, by the compatibility report: the upper end of the interval in "
        "the worst search that is judged. Null for embedded vectors."
    )
    rows: int
    total: int
    updated_at: datetime


class IndexView(ResponseModel):
    """An index, and what it has for each version."""

    id: str = Field(description="Which a store's tables are marked with.")
    model: str = Field(examples=["demo"])
    name: str = Field(examples=["shop"])
    alias: str = Field(examples=["production"])
    store: IndexStore
    dataset: str | None
    allowed_loss: float
    live: int | None = Field(description="The version that the alias points at.")
    versions: list[IndexVersionView]
    created_at: datetime
    links: dict[str, str]


def index_view(shown: ShownIndex) -> IndexView:
    """Return the view of an index."""
    model, index = shown.model.name, shown.index
    links = {
        "self": f"/v1/models/{model}/indexes/{index.name}",
        "alias": f"/v1/models/{model}/aliases/{index.alias}",
    }
    return IndexView.of(
        index,
        model=model,
        dataset=shown.dataset,
        live=shown.live,
        versions=[IndexVersionView.of(one, digest=digest) for one, digest in shown.versions],
        links=links,
    )


class IndexList(ResponseModel):
    """The indexes of a model, by name."""

    data: list[IndexView]
