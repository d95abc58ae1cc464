"""The page of a model: its line of versions, what is live, and by whose decision."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.dependencies import WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.pages.figures.line_plot import LinedVersion, alias_plot, line_plot
from api.pages.figures.version_summary import summary_of
from api.schemas.common import Number
from core.domain.access.roles import Role
from core.domain.registry.alias import PRODUCTION
from core.domain.registry.version import Model, Version
from core.ports import UnitOfWork
from core.use_cases.registry.aliases.roll_back import can_go_back

router = APIRouter(route_class=PageRoute, include_in_schema=False)

VERSIONS = 30  # of a page
MOVES = 12  # of an alias, newest
JOBS = 5

Before = Annotated[Number | None, Query()]


@router.get(f"{PAGES}/models/{{model}}", openapi_extra=needs(Role.VIEWER))
def show_model(
    model: str,
    request: Request,
    services: WiredServices,
    before: Before = None,
    moved: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Show a model; with `before`, versions older than it; `moved` names an alias just moved."""
    platform = services.platform
    with platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        versions = _versions(work, found, before)
        moves = work.aliases.last_moves(found.id)
        history = work.aliases.newest_moves(found.id, PRODUCTION, MOVES)
        back = can_go_back(work, found.id, history)
        suites = work.suites.names(set(found.suites))
        policy = work.policies.get(found.policy)
        jobs = work.jobs.named_page(JOBS, None, model=found.id)
    rows = [
        LinedVersion(
            version=version,
            summary=summary_of(platform.artifacts, version),
            aliases=[move.alias for move in moves if move.to_version == version.number],
        )
        for version in versions
    ]
    return page(
        request,
        "model.html",
        model=found,
        rows=rows[::-1],
        line=line_plot(rows, f"{PAGES}/models/{found.name}/versions/") if rows else None,
        older=versions[0].number if versions and versions[0].number > 1 else None,
        newest=before is None,
        moves=moves,
        moved=moved,
        back=back,
        history=history[::-1],
        stairs=alias_plot(history) if len(history) > 1 else None,
        suites=[suites[suite] for suite in found.suites],
        policy=policy,
        jobs=jobs,
        now=platform.clock(),
    )


def _versions(work: UnitOfWork, model: Model, before: int | None) -> list[Version]:
    """Return the newest versions, or the newest of those before one, oldest first."""
    newest = work.versions.newest(model.id)
    end = before or (newest.number + 1 if newest else 1)
    found = work.versions.page(model.id, VERSIONS, max(0, end - 1 - VERSIONS))
    return [version for version in found if version.number < end]
