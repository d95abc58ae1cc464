"""Routes of aliases: list, promote, roll back, delete."""

from functools import partial
from typing import Annotated

from fastapi import Header, Path, Query, Response

from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.answers import ANY, IfMatch, etag, expected_revision
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import (
    NAME_RULE,
    AfterNumber,
    Limit,
    Number,
    Page,
    ReasonQuery,
    number_after,
    page_of,
)
from api.registry.schemas import AliasView, MoveView, PreviewView, Promotion, Rollback
from core import errors
from core.database.work import Work
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.aliases import Alias, AliasMove
from core.registry.promote import preview_promotion, promote, roll_back
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.upkeep import delete as deletion

router = Routes(prefix="/v1/models/{model}/aliases", tags=["aliases"], route_class=ThreadRoute)

IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", examples=["*"])]

_UNKNOWN = (errors.ModelNotFound, errors.AliasNotFound)


@router.get("", Role.VIEWER, errors.ModelNotFound)
def list_aliases(model: str, services: WiredServices) -> Page[AliasView]:
    """List the aliases of a model."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Aliases].all(work[Models].get(model).id)
        return Page(data=[_view(work, row) for row in rows])


@router.get("/{alias}", Role.VIEWER, *_UNKNOWN)
def get_alias(model: str, alias: str, services: WiredServices, response: Response) -> AliasView:
    """Return an alias, with the ETag that a move sends as If-Match."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Aliases].get(work[Models].get(model).id, alias)
    return _answer(services, response, found)


@router.put(
    "/{alias}",
    Role.OPERATOR,
    errors.ModelNotFound,
    errors.VersionNotFound,
    errors.GateFailed,
    errors.LearnedErasedImages,
    errors.EvaluationPending,
    errors.EvaluationStale,
    errors.IndexNotReady,
    errors.ArtifactGone,
    errors.EngineUnavailable,
    errors.InferenceUnavailable,
    errors.InferenceBusy,
    errors.NotServable,
    errors.StaleRevision,
    errors.StalePreview,
    errors.NameInvalid,
    errors.PreconditionRequired,
    summary="Promote a version",
)
def move_alias(
    model: str,
    alias: Annotated[str, Path(json_schema_extra=NAME_RULE)],
    body: Promotion,
    services: WiredServices,
    principal: CurrentPrincipal,
    response: Response,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> AliasView:
    """Promote a version: point an alias at it, if the gate lets it go live.

    An alias that points there already stays as it is.
    """
    present = partial(_present_revision, services, model, alias)
    expected = expected_revision(if_match, if_none_match, present)
    moved = promote(
        services.platform,
        principal,
        model=model,
        alias=alias,
        version=body.version,
        expected_revision=expected,
        reason=body.reason,
        override=body.override,
        decided_on=body.decided_on,
        require_served=services.inference.require,
    )
    return _answer(services, response, moved)


@router.get("/{alias}/promotion", Role.VIEWER, errors.ModelNotFound, errors.VersionNotFound)
def preview_alias_promotion(
    model: str,
    alias: Annotated[str, Path(json_schema_extra=NAME_RULE)],
    version: Annotated[Number, Query(examples=[2])],
    services: WiredServices,
) -> PreviewView:
    """Say how a promotion without a reason would end now, and promote nothing.

    Whether the weights can be read and an inference process can answer by them is not asked.
    """
    with services.platform.transactions(read_only=True) as work:
        found = work[Versions].get(work[Models].get(model).id, version)
        return PreviewView.of(preview_promotion(work, found, alias))


@router.delete(
    "/{alias}",
    Role.ADMIN,
    *_UNKNOWN,
    errors.InUse,
    errors.StaleRevision,
    errors.PreconditionRequired,
    status_code=204,
)
def delete_alias(
    model: str,
    alias: str,
    services: WiredServices,
    reason: ReasonQuery = "",
    if_match: IfMatch = None,
) -> None:
    """Delete an alias, which takes a reason; the history of its moves stays."""
    with services.platform.transactions(read_only=True) as work:
        work[Aliases].get(work[Models].get(model).id, alias)
    deletion.delete_alias(
        services.platform,
        model=model,
        alias=alias,
        expected_revision=expected_revision(
            if_match, None, partial(_present_revision, services, model, alias)
        ),
        reason=reason,
    )


@router.post(
    "/{alias}/rollback",
    Role.OPERATOR,
    *_UNKNOWN,
    errors.VersionNotFound,
    errors.NoPrevious,
    errors.GateFailed,
    errors.LearnedErasedImages,
    errors.IndexNotReady,
    errors.ArtifactGone,
    errors.StaleRevision,
)
def roll_alias_back(
    model: str,
    alias: str,
    body: Rollback,
    services: WiredServices,
    principal: CurrentPrincipal,
    response: Response,
    if_match: IfMatch = None,
) -> AliasView:
    """Roll an alias back to the version that was live before, or to a named earlier one."""
    present = partial(_present_revision, services, model, alias)
    decided = if_match is not None and if_match.strip() != ANY
    moved = roll_back(
        services.platform,
        principal,
        model=model,
        alias=alias,
        to=body.to,
        expected_revision=expected_revision(if_match, None, present) if decided else None,
        reason=body.reason,
        override=body.override,
    )
    return _answer(services, response, moved)


@router.get("/{alias}/history", Role.VIEWER, *_UNKNOWN)
def list_alias_moves(
    model: str, alias: str, services: WiredServices, limit: Limit = 50, after: AfterNumber = None
) -> Page[MoveView]:
    """List the moves of an alias, oldest first, also after it was deleted."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        if not work[Aliases].last_revision(found.id, alias):
            raise errors.AliasNotFound(alias=alias)
        later = work[Aliases].history(found.id, alias, after=number_after(after))
    return page_of(later, limit, _move, lambda row: row.revision)


def _move(move: AliasMove) -> MoveView:
    return MoveView.of(move, to_version=move.to_version or 0)  # 0: the alias was deleted


def _present_revision(services: Services, model: str, alias: str) -> int:
    """Return the alias's present revision. Raises StaleRevision when there is no such alias."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Aliases].find(work[Models].get(model).id, alias)
    if found is None:
        raise errors.StaleRevision("There is no such alias: create it with If-None-Match: *.")
    return found.revision


def _answer(services: Services, response: Response, alias: Alias) -> AliasView:
    response.headers["ETag"] = etag(alias.revision)
    with services.platform.transactions(read_only=True) as work:
        return _view(work, alias)


def _view(work: Work, alias: Alias) -> AliasView:
    return AliasView.of(
        alias,
        model=work[Models].get(alias.model).name,
        digest=work[Versions].get(alias.model, alias.version).digest,
    )
