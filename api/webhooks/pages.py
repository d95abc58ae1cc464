"""Pages of webhooks: the list with a form that makes one, and each with its deliveries."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse, Response

from api.dependencies import Services
from api.http.routing import PAGES, Routes
from api.http.schemas import After
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm, names_field, short_field
from api.pages.rendering import PageRequest, tell_next
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
def make_webhook(asked: PageRequest, fields: SentForm) -> Response:
    """Make a webhook, and show the secret that signs its messages."""
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
    )


@router.post("/{webhook}/test", Role.ADMIN)
def send_test(webhook: str, asked: PageRequest, _form: SentForm) -> Response:
    """Order the delivery of a test event."""
    webhooks.order_test(asked.platform, WebhookId(webhook))
    return _back_to(webhook)


@router.post("/{webhook}/pause", Role.ADMIN)
def pause(webhook: str, asked: PageRequest, _form: SentForm) -> Response:
    """Let deliveries wait."""
    return _set_paused(asked.services, webhook, paused=True)


@router.post("/{webhook}/resume", Role.ADMIN)
def resume(webhook: str, asked: PageRequest, _form: SentForm) -> Response:
    """Send what waits, and go on."""
    return _set_paused(asked.services, webhook, paused=False)


def _set_paused(services: Services, webhook: str, *, paused: bool) -> Response:
    change = webhooks.WebhookChange(paused=paused)
    webhooks.change_webhook(services.platform, services.webhooks, WebhookId(webhook), change)
    return _back_to(webhook)


@router.post("/{webhook}/rotate", Role.ADMIN)
def give_new_secret(webhook: str, asked: PageRequest, _form: SentForm) -> Response:
    """Make a new secret, and show it."""
    rotated = webhooks.rotate_secret(asked.platform, WebhookId(webhook))
    return _one(asked, rotated.id, secret=rotated.secret)


@router.post("/{webhook}/delete", Role.ADMIN)
def delete(webhook: str, asked: PageRequest, _form: SentForm) -> Response:
    """Delete a webhook with its deliveries."""
    webhooks.delete_webhook(asked.platform, WebhookId(webhook))
    return tell_next(asked, RedirectResponse(f"{PAGES}/webhooks", 303), "The webhook was deleted.")


@router.post("/{webhook}/deliveries/{delivery}/redeliver", Role.ADMIN)
def redeliver(webhook: str, delivery: str, asked: PageRequest, _form: SentForm) -> Response:
    """Order a delivery once more."""
    webhooks.redeliver(asked.platform, WebhookId(webhook), DeliveryId(delivery))
    return _back_to(webhook)


def _back_to(webhook: str) -> Response:
    return RedirectResponse(f"{PAGES}/webhooks/{webhook}", 303)
