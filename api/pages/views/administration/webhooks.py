"""The page of webhooks, and the form that makes one."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dependencies import Services, WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.forms import names_field, read_form, short_field
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.pages.views.administration.webhook import show_one
from core.domain.access.roles import Role
from core.domain.webhooks.event import EventType
from core.domain.webhooks.webhook import MOST_WEBHOOKS
from core.errors import FieldInvalid, PerennialError
from core.use_cases.webhooks.webhooks import create_webhook

router = APIRouter(prefix=f"{PAGES}/webhooks", route_class=PageRoute, include_in_schema=False)

LONGEST_DESCRIPTION = 500  # characters
Fields = Mapping[str, str]


@router.get("", openapi_extra=needs(Role.ADMIN))
def show_webhooks(request: Request, services: WiredServices) -> Response:
    """Show all webhooks."""
    return _list(request, services)


@router.post("", openapi_extra=needs(Role.ADMIN))
async def make_webhook(request: Request, services: WiredServices) -> Response:
    """Make a webhook, and show the secret that signs its messages."""
    fields = await read_form(request)

    def make() -> Response:
        try:
            made = create_webhook(
                services.platform,
                services.webhooks,
                url=fields.get("url", ""),
                events=_events(fields),
                models=names_field(fields, "models") or None,
                description=short_field(fields, "description", LONGEST_DESCRIPTION),
            )
        except PerennialError as refusal:
            return _list(request, services, fields, refusal)
        return show_one(request, services, made.id, secret=made.secret)

    return await run_in_threadpool(make)


def _list(
    request: Request,
    services: Services,
    sent: Fields | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    with services.platform.transactions(read_only=True) as work:
        rows = work.webhooks.page(MOST_WEBHOOKS, None)
    return page(
        request,
        "administration/webhooks.html",
        rows=rows,
        types=[one.value for one in EventType],
        sent=sent or {},
        refusal=refusal,
        longest=LONGEST_DESCRIPTION,
        now=services.platform.clock(),
    )


def _events(fields: Fields) -> list[EventType]:
    chosen = [one for one in EventType if one.value in fields]
    if not chosen:
        raise FieldInvalid("Choose at least one event.", pointer="/events")
    return chosen
