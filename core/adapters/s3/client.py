"""Clients for S3, with timeouts, and the codes of their errors."""

import os
from dataclasses import dataclass, field
from typing import Any

CONNECTIONS = 16
FIRST_REGION = "us-east-1"


@dataclass(frozen=True, kw_only=True)
class S3Access:
    """The address of a store, and how to send requests to it.

    Without a key of its own, credentials come from AWS's variables, files and roles.
    """

    endpoint: str | None = None  # None: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS itself
    region: str | None = None  # None: AWS_REGION, AWS_DEFAULT_REGION, or us-east-1
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    connect_s: float = 5.0
    read_s: float = 30.0

    def client(self, tries: int) -> Any:
        """Return a client that threads can share; no request is sent yet.

        A request is tried so many times, with growing pauses.
        """
        import boto3  # takes a third of a second, and a local store does not need it

        region = self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        endpoint = self.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3")
        endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL")
        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=region or FIRST_REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=self._config(tries, path_style=endpoint is not None),
        )

    def _config(self, tries: int, *, path_style: bool) -> Any:
        from botocore.config import Config

        return Config(
            connect_timeout=self.connect_s,
            read_timeout=self.read_s,
            retries={"mode": "standard", "total_max_attempts": tries},
            max_pool_connections=CONNECTIONS,
            # Stores other than AWS's rarely support a host name per bucket.
            s3={"addressing_style": "path" if path_style else "auto"},
            # Artifacts are sent with their SHA-256, and verified by it on every read.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )


def error_code(error: Exception) -> str:
    """Return S3's error code, or the HTTP status if the answer has no body."""
    details = getattr(error, "response", {}).get("Error", {})
    return str(details.get("Code", "unknown"))
