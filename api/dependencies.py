"""Dependencies of the routes: the services and the principal."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Header, Request
from fastapi.params import Depends

from api.inference_client.client import Inference
from api.inference_client.questions import PixelBudget
from api.observability import Metrics
from api.sign_ins import SignIns
from api.threads import Threads
from api.trial_traffic import TrialTraffic
from core.access.authenticate import SignInLink
from core.archives.reader import ArchiveReader
from core.archives.rules import Buckets
from core.bundles.signing import Signatures
from core.errors import FieldInvalid
from core.evaluation.calibrations import Calibrations
from core.images.decoder import Decoder
from core.inference.classify import Resolved
from core.jobs.queue import JobRequest
from core.jobs.rules import JobNotifier
from core.outbox.rules import WebhookClient
from core.platform import Platform
from core.principal import Principal
from core.values import canonical_json, sha256

FindVersion = Callable[[str, Principal], Awaitable[Resolved]]


@dataclass(frozen=True, kw_only=True)
class Services:
    """Services that the routes use, wired once at startup."""

    platform: Platform
    decoder: Decoder
    notifier: JobNotifier
    inference: Inference
    pixels: PixelBudget
    calibrations: Calibrations
    find_version: FindVersion
    trials: TrialTraffic
    webhooks: WebhookClient
    buckets: Buckets
    archives: ArchiveReader
    signatures: Signatures
    metrics: Metrics
    sign_ins: SignIns
    streams: Counter[str]  # of events that are open, by who reads them
    sign_in_link: SignInLink | None  # of a service that only its own machine reaches
    decoding: Threads
    # Limits on the threads for advice and lists of buckets, so that other requests still get one.
    advising: CapacityLimiter
    listing: CapacityLimiter


@dataclass(frozen=True)
class OfRequest(Depends):
    """A parameter that is found by the request alone.

    Endpoints of a `ThreadRoute` (`api/http/routing.py`) are given it directly: the framework takes
    several times as long to find out that nothing else is needed for it.
    """


# Coroutines: a plain function would cost a wait for a thread.


async def services(request: Request) -> Services:
    """Return the services of the running app, whose transactions are the caller's."""
    found: Services = request.app.state.services
    principal: Principal | None = request.scope["state"].get("principal")
    if principal is None:  # one of the paths that need no key
        return found
    return replace(found, platform=found.platform.on_behalf_of(principal))


async def principal(request: Request) -> Principal:
    """Return the principal whose key the request has brought."""
    found: Principal = request.scope["state"]["principal"]
    return found


WiredServices = Annotated[Services, OfRequest(services)]
CurrentPrincipal = Annotated[Principal, OfRequest(principal)]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        description="Within 24 hours, a request with the same key and body returns the same job.",
    ),
]


def job_request(
    request: Request, principal: Principal, key: str | None, body: object
) -> JobRequest:
    """Return who orders a job, with the Idempotency-Key and the digest of the body sent under it.

    The digest also covers the path, so a key is valid for one endpoint only. Raises FieldInvalid
    for a key that is not printable.
    """
    if key is not None and not key.isprintable():
        raise FieldInvalid(
            "An Idempotency-Key must be printable ASCII.", pointer="#header/Idempotency-Key"
        )
    digest = sha256(canonical_json([request.url.path, body])) if key is not None else None
    return JobRequest(principal=principal, key=key, body=digest)
