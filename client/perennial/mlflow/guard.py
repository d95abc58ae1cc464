"""A guard of an alias in an MLflow registry: a version stays there that the gate lets go live.

That is what `production` of the service points at, or what the service would promote there now
without a reason: a verdict is about what a version replaces, so "passed" alone says too little.
Whatever moves the alias, the guard asks the service about the version, and moves the alias back
where it refuses. It reads which version is meant from the tags that the mirror has set.
"""

import json
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from perennial.client import Client
from perennial.errors import ServiceError
from perennial.mlflow.mirror import DIGEST, MISSING, MODEL, mirrored_versions, number_of
from perennial.terminal.session import Failure

PRODUCTION = "production"
TRIES = 3
UNKNOWN = {"INVALID_PARAMETER_VALUE", MISSING}  # what MLflow says of an alias that there is not


@dataclass(frozen=True, kw_only=True)
class Event:
    """An alias was moved back."""

    name: str
    alias: str
    from_version: str
    to_version: str | None
    """MLflow's number of the version that it points at now; None: the alias was deleted."""
    reason: str
    at: str


class Guard:
    """Keeps an alias on versions that are live in the service, or may go live."""

    def __init__(self, service: Client, registry: MlflowClient, name: str, alias: str) -> None:
        """Guard an alias of a mirrored model. Raises Failure if it is not mirrored."""
        model = registry.get_registered_model(name).tags.get(MODEL)
        if model is None:
            raise Failure(f"{name} is no mirror: run `perennial mlflow mirror` first.")
        self._service = service
        self._registry = registry
        self._model = model
        self._name = name
        self._alias = alias

    def look(self) -> Event | None:
        """Look at the alias once, and return what was done if it was moved back.

        It goes back to what `production` of the service points at, if that is mirrored, or goes.
        """
        found = self._present()
        if found is None:
            return None
        reason = self._refusal(found)
        if reason is None:
            return None
        back = self._production()
        if back == str(found.version):
            back = None
        if back is None:
            self._registry.delete_registered_model_alias(self._name, self._alias)
        else:
            self._registry.set_registered_model_alias(self._name, self._alias, back)
        return Event(
            name=self._name,
            alias=self._alias,
            from_version=str(found.version),
            to_version=back,
            reason=reason,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def _present(self) -> Any:
        """Return the version that the alias points at, or None."""
        try:
            return self._registry.get_model_version_by_alias(self._name, self._alias)
        except MlflowException as error:
            if error.error_code not in UNKNOWN:
                raise
            return None

    def _refusal(self, found: Any) -> str | None:
        """Return why a version may not stand there, or None if it may."""
        number = number_of(found)
        if number is None:
            return "It is no version of the service."
        try:
            version = self._service.versions.get(self._model, number)
        except ServiceError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            return f"The service has no version {number} of {self._model}."
        if version["digest"] != found.tags.get(DIGEST):
            return f"It is not version {number} of {self._model}: their digests differ."
        preview = self._service.aliases.preview(self._model, number, alias=PRODUCTION)
        if preview["refusal"] is None:
            return None
        told = preview["refusal"]["detail"]
        return f"Version {number} of {self._model} would not go live by itself: {told}"

    def _live(self) -> int | None:
        return self._service.models.get(self._model)["aliases"].get(PRODUCTION)

    def _production(self) -> str | None:
        live = self._live()
        found = mirrored_versions(self._registry, self._name).get(live) if live else None
        return str(found.version) if found else None


def signer_of(secret: str) -> Webhook:
    """Return what signs events by a secret. Raises Failure if it is none."""
    try:
        return Webhook(secret)
    except (ValueError, EmptyWebhookSecretError) as error:
        raise Failure("The secret of the webhook must be whsec_ and base64.") from error


def send(event: Event, url: httpx.URL, signer: Webhook) -> bool:
    """POST an event, signed by Standard Webhooks, and return whether it was received."""
    body = json.dumps({"type": "mlflow.alias_moved_back", "data": asdict(event)})
    message, now = f"msg_{secrets.token_hex(12)}", datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(message, now, body),
    }
    for _ in range(TRIES):
        with suppress(httpx.RequestError):
            if httpx.post(url, content=body, headers=headers, timeout=10).is_success:
                return True
    return False
