"""The headers of a message, as Standard Webhooks (standardwebhooks.com) has them."""

from collections.abc import Mapping
from importlib.metadata import version

from standardwebhooks import Webhook

from core.ports import Message


def headers_of(message: Message) -> Mapping[str, str]:
    """Return the headers of a message; each of its secrets gives one signature."""
    body = message.body.decode()
    signatures = [Webhook(secret).sign(message.id, message.at, body) for secret in message.secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": f"perennial/{version('perennial')}",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(message.at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
