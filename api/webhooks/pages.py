"""Pages of webhooks: the list with a form that makes one, and each with its deliveries."""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import Services
from api.http.routing import PAGES, Routes
from api.http.schemas import After
from api.pages.browsing import PageRoute
from api.pages.forms import names_field, read_form, short_field
from api.pages.rendering import PageRequest
from core.access.keys import model_name
from core.errors import FieldInvalid, PerennialError
from core.outbox.rows import Outbox, Webhooks
from core.outbox.rules import KEPT_DAYS, MOST_WEBHOOKS, EventType
from core.principal import Role
from core.values import DeliveryId, WebhookId
from core.webhooks import change as webhooks
from core.webhooks.change import create_webhook

router = Routes(prefix=f"{PAGES}/webhooks", route_class=PageRoute, include_in_schema=False)

DELIVERIES = 40  # of a page
LONGEST_DESCRIPTION = 500  # characters

Fields = Mapping[str, str]


@router.get("", Role.ADMIN)
def show_webhooks(asked: PageRequest) -> Response:
    """Show all webhooks."""
    return _list(asked)


@router.post("", Role.ADMIN)
async def make_webhook(asked: PageRequest) -> Response:
    """Make a webhook, and show the secret that signs its messages."""
    fields = await read_form(asked.request)

    def make() -> Response:
        try:
            made = create_webhook(
                asked.platform,
                asked.services.webhooks,
                url=fields.get("url", ""),
                events=_events(fields),
                models=names_field(fields, "models") or None,
                description=short_field(fields, "description", LONGEST_DESCRIPTION),
            )
        except PerennialError as refusal:
            return _list(asked, fields, refusal)
        return _one(asked, made.id, secret=made.secret)

    return await run_in_threadpool(make)


def _list(
    asked: PageRequest, sent: Fields | None = None, refusal: PerennialError | None = None
) -> Response:
    with asked.platform.transactions(read_only=True) as work:
        rows = work[Webhooks].page(MOST_WEBHOOKS, None)
    return asked.page(
        "administration/webhooks.html",
        rows=rows,
        types=[one.value for one in EventType],
        sent=sent or {},
        refusal=refusal,
        longest=LONGEST_DESCRIPTION,
        now=asked.platform.clock(),
    )


def _events(fields: Fields) -> list[EventType]:
    chosen = [one for one in EventType if one.value in fields]
    if not chosen:
        raise FieldInvalid("Choose at least one event.", pointer="/events")
    return chosen


@router.get("/{webhook}", Role.ADMIN)
def show_webhook(webhook: str, asked: PageRequest, after: After = None) -> Response:
    """Show a webhook and its deliveries, newest first."""
    return _one(asked, WebhookId(webhook), after)


def _one(
    asked: PageRequest, webhook: WebhookId, after: str | None = None, *, secret: str | None = None
) -> Response:
    """Return the page of a webhook; with its secret when it is new."""
    with asked.platform.transactions(read_only=True) as work:
        found = work[Webhooks].get(webhook)
        rows = work[Outbox].page(found.id, DELIVERIES + 1, after)
        models = None if found.models is None else [model_name(work, m) for m in found.models]
    return asked.page(
        "administration/webhook.html",
        webhook=found,
        host=urlsplit(found.url).netloc,
        models=models,
        secret=secret,
        rows=rows[:DELIVERIES],
        first=after is None,
        next=rows[DELIVERIES - 1].id if len(rows) > DELIVERIES else None,
        kept_days=KEPT_DAYS,
        now=asked.platform.clock(),
    )


@router.post("/{webhook}/test", Role.ADMIN)
async def send_test(webhook: str, asked: PageRequest) -> Response:
    """Order the delivery of a test event."""
    return await _change(
        asked.request, webhook, lambda: webhooks.order_test(asked.platform, WebhookId(webhook))
    )


@router.post("/{webhook}/pause", Role.ADMIN)
async def pause(webhook: str, asked: PageRequest) -> Response:
    """Let deliveries wait."""
    return await _change(
        asked.request, webhook, lambda: _set_paused(asked.services, webhook, paused=True)
    )


@router.post("/{webhook}/resume", Role.ADMIN)
async def resume(webhook: str, asked: PageRequest) -> Response:
    """Send what waits, and go on."""
    return await _change(
        asked.request, webhook, lambda: _set_paused(asked.services, webhook, paused=False)
    )


def _set_paused(services: Services, webhook: str, *, paused: bool) -> None:
    change = webhooks.WebhookChange(paused=paused)
    webhooks.change_webhook(services.platform, services.webhooks, WebhookId(webhook), change)


@router.post("/{webhook}/rotate", Role.ADMIN)
async def give_new_secret(webhook: str, asked: PageRequest) -> Response:
    """Make a new secret, and show it."""
    await read_form(asked.request)
    rotated = await run_in_threadpool(webhooks.rotate_secret, asked.platform, WebhookId(webhook))
    return await run_in_threadpool(_one, asked, rotated.id, secret=rotated.secret)


@router.post("/{webhook}/delete", Role.ADMIN)
async def delete(webhook: str, asked: PageRequest) -> Response:
    """Delete a webhook with its deliveries."""
    await read_form(asked.request)
    await run_in_threadpool(webhooks.delete_webhook, asked.platform, WebhookId(webhook))
    return RedirectResponse(f"{PAGES}/webhooks", 303)


@router.post("/{webhook}/deliveries/{delivery}/redeliver", Role.ADMIN)
async def redeliver(webhook: str, delivery: str, asked: PageRequest) -> Response:
    """Order a delivery once more."""
    return await _change(
        asked.request,
        webhook,
        lambda: webhooks.redeliver(asked.platform, WebhookId(webhook), DeliveryId(delivery)),
    )


async def _change(request: Request, webhook: str, change: Callable[[], object]) -> Response:
    """Do what a form asks for, and lead back to the webhook."""
    await read_form(request)
    await run_in_threadpool(change)
    return RedirectResponse(f"{PAGES}/webhooks/{webhook}", 303)
