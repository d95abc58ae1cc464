"""The first page: the models, and which version of each is live since when."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.dependencies import WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.schemas.common import After
from core.domain.access.roles import Role
from core.domain.jobs.job import JobStatus
from core.domain.registry.alias import PRODUCTION, AliasMove
from core.domain.registry.version import Model, Version
from core.ports import UnitOfWork

router = APIRouter(route_class=PageRoute, include_in_schema=False)

MODELS = 25
JOBS = 5


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """A model with its live version and its newest one."""

    model: Model
    live: AliasMove | None  # the last move of `production`
    live_version: Version | None
    others: tuple[AliasMove, ...]  # the last moves of other aliases
    newest: Version | None

    @property
    def is_root_alone(self) -> bool:
        """True if the model has learned nothing yet."""
        return self.newest is None or self.newest.is_root

    @property
    def waits(self) -> bool:
        """True if the newest version is neither live nor rejected: somebody may promote it."""
        live = self.live.to_version if self.live else None
        return self.newest is not None and self.newest.number != live


@router.get(PAGES, openapi_extra=needs(Role.VIEWER))
def show_overview(request: Request, services: WiredServices, after: After = None) -> Response:
    """Show the models, and the jobs that run now."""
    with services.platform.transactions(read_only=True) as work:
        models = work.models.page(MODELS + 1, after)
        rows = _rows(work, models[:MODELS])
        running = work.jobs.named_page(JOBS, None, status=JobStatus.RUNNING)
        queued = work.jobs.named_page(JOBS, None, status=JobStatus.QUEUED)
    more = len(models) > MODELS
    return page(
        request,
        "overview.html",
        rows=rows,
        fresh=after is None and not more and all(row.is_root_alone for row in rows),
        first=after is None,
        next=rows[-1].model.id if more else None,
        jobs=[*running, *queued][:JOBS],
        now=services.platform.clock(),
    )


def _rows(work: UnitOfWork, models: Sequence[Model]) -> list[ModelRow]:
    moves = work.aliases.last_moves(*(model.id for model in models))
    return [
        _row(work, model, [move for move in moves if move.model == model.id]) for model in models
    ]


def _row(work: UnitOfWork, model: Model, moves: list[AliasMove]) -> ModelRow:
    live = next((move for move in moves if move.alias == PRODUCTION), None)
    number = live.to_version if live else None
    return ModelRow(
        model=model,
        live=live,
        live_version=work.versions.get(model.id, number) if number else None,
        others=tuple(move for move in moves if move.alias != PRODUCTION),
        newest=work.versions.newest(model.id),
    )
