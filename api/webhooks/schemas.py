"""Schemas of webhooks and their deliveries."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from api.http.schemas import BY_TEXT, RequestModel, ResponseModel
from core.outbox.rules import LONGEST_URL, DeliveryStatus, EventType
from core.webhooks.change import WebhookChange

_Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_URL,
        examples=["https://ci.example.com/perennial"],
        description="https, at a public address.",
    ),
]

_Events = Annotated[
    list[Annotated[EventType, BY_TEXT]],
    Field(min_length=1, max_length=20, examples=[["job.failed", "alias.moved"]]),
]

_Models = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=100)]] | None,
    Field(
        min_length=1,
        max_length=100,
        examples=[["products"]],
        description="Models, by name or id, whose events are sent. Null: those of all.",
    ),
]

_Description = Annotated[str, Field(max_length=500, examples=["build server"])]


class NewWebhook(RequestModel):
    """A webhook to create."""

    url: _Url
    events: _Events
    models: _Models = None
    description: _Description = ""


class WebhookChanges(RequestModel):
    """New values of a webhook; a field that is left out stays as it is."""

    url: _Url | None = None
    events: _Events | None = None
    models: _Models = None
    description: _Description | None = None
    paused: bool | None = Field(None, description="Whether deliveries wait.")

    def change(self) -> WebhookChange:
        """Return the fields that were sent."""
        sent = {name: getattr(self, name) for name in self.model_fields_set}
        return WebhookChange(**sent, all_models=sent.get("models", ()) is None)


class WebhookView(ResponseModel):
    """A webhook, without its secret."""

    id: str = Field(examples=["hook_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    url: str = Field(examples=["https://ci.example.com/perennial"])
    events: list[str] = Field(examples=[["job.failed", "alias.moved"]])
    models: list[str] | None = Field(description="Ids. Null: all models.")
    description: str
    paused: bool
    former_secret_until: datetime | None = Field(
        validation_alias="former_until",
        description="After a rotation: until when the former secret signs too.",
    )
    created_at: datetime


class WebhookWithSecret(WebhookView):
    """A webhook with its new secret, which is shown only now."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class DeliveryError(ResponseModel):
    """The reason why the last attempt failed."""

    code: str = Field(
        examples=["receiver_refused"],
        description="receiver_refused (a status other than 2xx), receiver_timeout, "
        "receiver_unreachable or url_forbidden.",
    )
    message: str = Field(examples=["The receiver responded with status 500."])


class DeliveryView(ResponseModel):
    """An event on its way to a webhook."""

    id: str = Field(examples=["dlv_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    event: str = Field(
        examples=["evt_0199c2a4e1b7d3f4a5b6c7d8e9f0"],
        description="The event's id, which is the header webhook-id of every attempt.",
    )
    type: str = Field(examples=["job.failed"])
    payload: dict[str, Any] = Field(description="The body that is sent.")
    status: DeliveryStatus
    attempts: int = Field(description="Since it was written or last redelivered.")
    response_status: int | None = Field(examples=[500], description="Of the last attempt.")
    error: DeliveryError | None = Field(description="Of the last attempt.")
    created_at: datetime
    attempted_at: datetime | None
    next_attempt_at: datetime | None = Field(
        description="Null once it has been delivered or has failed."
    )
