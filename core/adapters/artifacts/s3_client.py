"""The location of the artifacts on S3, and clients with timeouts for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from core.adapters.s3.client import S3Access
from core.errors import UnsafeConfiguration

SCHEME = "s3://"


class Clients(NamedTuple):
    """The boto3 clients of one place."""

    usual: Any
    asks_once: Any  # never retries a request


@dataclass(frozen=True, kw_only=True)
class S3Location:
    """A bucket and a prefix. Credentials come from AWS's own variables, files and roles."""

    bucket: str
    prefix: str  # "", or a path that ends in "/"
    scratch: Path  # folder for this process's unfinished uploads and exports
    endpoint: str | None = None  # None: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS itself
    region: str | None = None  # None: AWS_REGION, AWS_DEFAULT_REGION, or us-east-1
    connect_s: float = 5.0
    read_s: float = 30.0
    tries: int = 4  # per request, with growing pauses
    large_bytes: int = 64 * 1024 * 1024  # larger artifacts are uploaded in parts
    part_bytes: int = 32 * 1024 * 1024

    @classmethod
    def of(cls, url: str, *, scratch: Path, endpoint: str, region: str) -> Self:
        """Parse `s3://bucket/prefix`. Raises UnsafeConfiguration if `url` holds anything else."""
        parts = urlsplit(url)
        if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
            raise UnsafeConfiguration(
                "For S3, PERENNIAL_ARTIFACTS_URL must be s3://BUCKET or s3://BUCKET/PREFIX: "
                "pass credentials in the AWS environment variables."
            )
        prefix = parts.path.strip("/")
        return cls(
            bucket=parts.netloc,
            prefix=f"{prefix}/" if prefix else "",
            scratch=scratch,
            endpoint=endpoint or None,
            region=region or None,
        )

    def connect(self) -> Clients:
        """Create clients that threads can share; sends no request yet."""
        access = S3Access(
            endpoint=self.endpoint,
            region=self.region,
            connect_s=self.connect_s,
            read_s=self.read_s,
        )
        return Clients(usual=access.client(self.tries), asks_once=access.client(1))
