"""Create and delete indexes, and record what their fillers have done.

The vectors are in stores of their owners, to which only the client connects: see
docs/adr/0051-an-index-is-filled-by-its-owner.md. Every row about a version is written under the
lock of that version, which who moves an alias to it holds, too.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.rows import Datasets
from core.errors import DatasetNotFound, PerennialError
from core.evaluation.auto_promote import require_promoter
from core.indexes.rows import Indexes
from core.indexes.rules import (
    IndexMethod,
    IndexState,
    IndexStore,
    IndexVersion,
    VectorIndex,
    digest_matches,
    refusal,
    require_loss,
    require_method,
    shown_state,
    stated_loss,
)
from core.jobs.rows import Jobs
from core.platform import Platform
from core.registry.alias_rows import Aliases
from core.registry.aliases import Alias, was_live
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.values import Digest, IndexId, clean_name, new_id, require_unused
from core.vectors.compare_index import read_index_report
from core.vectors.rows import IndexReports


@dataclass(frozen=True, kw_only=True)
class Filled:
    """The state of a filler: which vectors it makes, how, and how many are stored."""

    digest: Digest  # of the version
    method: IndexMethod
    baseline: int | None
    rows: int
    total: int
    complete: bool


@dataclass(frozen=True, kw_only=True)
class ShownIndex:
    """An index with what it has for each version, and where its alias points."""

    index: VectorIndex
    model: Model
    dataset: str | None  # its name
    live: int | None
    versions: tuple[tuple[IndexVersion, Digest], ...]  # with their states as shown


def create_index(
    platform: Platform,
    *,
    model: str,
    name: str,
    alias: str,
    store: IndexStore,
    dataset: str | None,
    allowed_loss: float,
) -> ShownIndex:
    """Record that an index follows an alias; it keeps the alias back once a version is complete.

    Raises ModelNotFound, AliasNotFound, DatasetNotFound, NameInvalid or NameTaken.
    """
    now = platform.clock()
    with platform.transactions() as work:
        found = work[Models].get(model)
        work[Models].lock(found.id)
        work[Aliases].get(found.id, alias)
        index = VectorIndex(
            id=IndexId(new_id("idx", now)),
            model=found.id,
            name=clean_name(name),
            alias=alias,
            store=store,
            dataset=None if dataset is None else work[Datasets].get(dataset).id,
            allowed_loss=allowed_loss,
            created_at=now,
        )
        work[Indexes].add(index)
        after = {"alias": alias, "store": store.value, "dataset": index.dataset}
        audit.record(work, Action.INDEX_CREATED, _subject(found, name), now=now, after=after)
        shown = show_index(work, found, index, now)
        work.commit()
    return shown


def record_filling(
    platform: Platform, *, model: str, name: str, version: int, filled: Filled
) -> ShownIndex:
    """Record how far a filler is with a version, or that the version's vectors are complete.

    Raises ModelNotFound, IndexNotFound, VersionNotFound, ArtifactGone, FieldInvalid, or, for
    vectors that are held or bridged, IndexReportNotFound or IndexNotReady.
    """
    now = platform.clock()
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        index = work[Indexes].get(found.id, name)
    loss = _stated_loss(platform, index, version, filled)
    with platform.transactions() as work:
        wanted = work[Versions].get(found.id, version, lock=True)
        wanted.require_weights()
        digest_matches(filled.digest, wanted.digest)
        index = work[Indexes].get(found.id, name)
        present = work[Indexes].versions(index.id)
        require_method(filled.method, version, filled.baseline, present)
        before = next((one for one in present if one.version == version), None)
        before = before or _nothing_yet(index, wanted, now)
        begun = before.begin(filled.method, filled.baseline, loss)
        after = begun.counted(
            rows=filled.rows, total=filled.total, complete=filled.complete, now=now
        )
        work[Indexes].put(after)
        if after.state is not before.state and after.state is IndexState.COMPLETE:
            what = {"version": version, "method": filled.method.value, "rows": filled.rows}
            audit.record(work, Action.INDEX_FILLED, _subject(found, name), now=now, after=what)
        shown = show_index(work, found, index, now)
        work.commit()
    return shown


def _stated_loss(
    platform: Platform, index: VectorIndex, version: int, filled: Filled
) -> float | None:
    """Return what held or bridged vectors may lose, by the report. Raises IndexNotReady."""
    if filled.baseline is None or filled.method is IndexMethod.EMBEDDED:
        return None
    with platform.transactions(read_only=True) as work:
        report = work[IndexReports].get(index.model, version, filled.baseline)
    loss = stated_loss(read_index_report(platform, report), filled.method)
    require_loss(loss, index, filled.method)
    return loss


def clear_version(platform: Platform, *, model: str, name: str, version: int) -> None:
    """Forget what an index has for a version, before its vectors are deleted from the store.

    Raises ModelNotFound, IndexNotFound, VersionNotFound or IndexVersionNotFound; InUse while the
    alias points at the version, or vectors for others are made of its own.
    """
    now = platform.clock()
    with platform.transactions() as work:
        found = work[Models].get(model)
        work[Versions].get(found.id, version, lock=True)
        index = work[Indexes].get(found.id, name)
        gone = work[Indexes].version(index.id, version)
        alias = work[Aliases].find(found.id, index.alias)
        live = alias is not None and alias.version == version
        complete = gone.state is IndexState.COMPLETE
        require_unused(
            f"The vectors for version {version}",
            aliases=[index.alias] if live and complete else [],
            vectors=[
                one.version for one in work[Indexes].versions(index.id) if one.baseline == version
            ],
        )
        work[Indexes].clear(index.id, version)
        what = {"version": version, "state": gone.state.value}
        audit.record(work, Action.INDEX_CLEARED, _subject(found, name), now=now, before=what)
        work.commit()


def delete_index(platform: Platform, *, model: str, name: str) -> None:
    """Delete an index, whose alias then moves freely; its store stays as it is.

    Raises ModelNotFound or IndexNotFound.
    """
    with platform.transactions() as work:
        found = work[Models].get(model)
        index = work[Indexes].get(found.id, name)
        work[Indexes].remove(index.id)
        before = {"alias": index.alias, "store": index.store.value}
        subject = _subject(found, name)
        audit.record(work, Action.INDEX_DELETED, subject, now=platform.clock(), before=before)
        work.commit()


def show_index(work: Work, model: Model, index: VectorIndex, now: datetime) -> ShownIndex:
    """Return an index as it is shown."""
    alias = work[Aliases].find(model.id, index.alias)
    live = None if alias is None else alias.version
    moves = work[Aliases].history(model.id, index.alias)
    rows = work[Indexes].versions(index.id)
    named = work[Versions].some(model.id, {one.version for one in rows})
    dataset = index.dataset
    if dataset is not None:
        with suppress(DatasetNotFound):  # deleted: then its id is shown
            dataset = work[Datasets].get(dataset).name
    return ShownIndex(
        index=index,
        model=model,
        dataset=dataset,
        live=live,
        versions=tuple(
            (
                replace(
                    one,
                    state=shown_state(one, live=live, was_live=was_live(moves, one.version)),
                    wanted=one.wanted if _waits(work, one, named, alias, now) else None,
                ),
                named[one.version].digest,
            )
            for one in rows
        ),
    )


def _waits(
    work: Work,
    one: IndexVersion,
    named: Mapping[int, Version],
    alias: Alias | None,
    now: datetime,
) -> bool:
    """Return whether a version still waits to go live by itself.

    It does until its alias moves, or the key that ordered its update may move no aliases any more.
    """
    if alias is None or one.wanted != alias.revision:
        return False
    try:
        require_promoter(work, work[Jobs].get(named[one.version].job), now)
    except PerennialError:
        return False
    return True


# Parts of hooks: an alias waits for its indexes.


def obstacle_of_indexes(work: Work, version: Version, alias: str) -> PerennialError | None:
    """Return why an index keeps an alias from moving to a locked version, None if none does."""
    name = work[Models].get(version.model).name
    refusals = (
        refusal(index, work[Indexes].versions(index.id), version.number, name)
        for index in work[Indexes].following(version.model, alias)
    )
    return next((one for one in refusals if one is not None), None)


def want(work: Work, version: Version, alias: Alias) -> None:
    """Record that the indexes of an alias should get vectors for a version, which then goes live.

    The caller has locked the version, or is the one that makes it.
    """
    for index in work[Indexes].following(version.model, alias.name):
        nothing = _nothing_yet(index, version, version.created_at)
        work[Indexes].want(replace(nothing, wanted=alias.revision))


def _nothing_yet(index: VectorIndex, version: Version, now: datetime) -> IndexVersion:
    return IndexVersion(
        index=index.id, version=version.number, state=IndexState.WANTED, updated_at=now
    )


def _subject(model: Model, name: str) -> str:
    return f"models/{model.name}/indexes/{name}"
