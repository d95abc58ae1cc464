"""The page of all suites and gate policies, and of the models that each of them judges."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.dependencies import WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.filters import Text
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from core.domain.access.roles import Role

router = APIRouter(prefix=f"{PAGES}/suites", route_class=PageRoute, include_in_schema=False)

ROWS = 25  # of each list


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_suites(
    request: Request, services: WiredServices, suites_after: Text = "", policies_after: Text = ""
) -> Response:
    """Show suites and policies, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        suites = work.suites.page(ROWS + 1, suites_after or None)
        policies = work.policies.page(ROWS + 1, policies_after or None)
        shown, rules = suites[:ROWS], policies[:ROWS]
        judged = work.models.judged([*(one.id for one in shown), *(one.id for one in rules)])
    return page(
        request,
        "administration/suites.html",
        suites=shown,
        policies=rules,
        judged=judged,
        first=not suites_after,
        next_suite=shown[-1].id if len(suites) > ROWS else None,
        next_policy=rules[-1].id if len(policies) > ROWS else None,
        suites_after=suites_after,
        policies_after=policies_after,
        now=services.platform.clock(),
    )
