"""Startup and shutdown of the application, and checks of the settings before."""

import ipaddress
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, closing

from anyio import CapacityLimiter
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.embedded import EmbeddedProcesses
from api.http.authentication import Holders, KeyUses
from api.http.lookups import VersionLookup
from api.inference_client.client import Inference, with_inference_key
from api.inference_client.questions import PixelBudget
from api.observability import Metrics
from api.rates import Rates
from api.sign_ins import SignIns
from api.threads import Threads
from api.trial_traffic import TrialTraffic
from core import bootstrap
from core.access.authenticate import SignInLink
from core.access.keys import admin_secret, ensure_admin_key, require_unguessable
from core.access.rules import is_confidential
from core.archives.reader import ArchiveReader
from core.datasets.thumbnail_rows import ensure_split
from core.errors import UnsafeConfiguration
from core.evaluation.calibrations import Calibrations
from core.gate.policies import ensure_default_policy
from core.jobs.broker import BackgroundNotifier, CeleryNotifier
from core.platform import Platform
from core.settings import Settings

DECODING = 8  # threads of its own
ADVISING = 4  # threads, of the 40 that all requests share
LISTING = 4  # orders of imports from buckets, which may be slow to answer


def require_safe(settings: Settings) -> None:
    """Raise UnsafeConfiguration for a guessable key, or for a reachable service without a key.

    Likewise for keys of bundles that cannot be read, and for tokens without an issuer and an
    audience to be checked for.
    """
    key = settings.admin_key.get_secret_value()
    if key:
        require_unguessable("PERENNIAL_ADMIN_KEY", key)
    inference_key = settings.inference_key.get_secret_value()
    if inference_key:
        require_unguessable("PERENNIAL_INFERENCE_KEY", inference_key)
    bootstrap.signatures(settings)
    if bool(settings.oidc_issuer) is not bool(settings.oidc_audience):
        raise UnsafeConfiguration("Set PERENNIAL_OIDC_ISSUER and PERENNIAL_OIDC_AUDIENCE together.")
    if settings.oidc_issuer and not is_confidential(settings.oidc_issuer):
        raise UnsafeConfiguration(
            "PERENNIAL_OIDC_ISSUER must be an https URL: whoever can change what it answers can "
            "make tokens. http is accepted for an issuer on this machine alone."
        )
    if not key and not is_loopback(settings.host):
        raise UnsafeConfiguration(
            f"Binding to {settings.host} makes the service reachable from other machines: "
            "set PERENNIAL_ADMIN_KEY. `perennial key` prints one."
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def make_lifespan(
    platform: Platform,
    metrics: Metrics,
    rates: Rates,
    uses: KeyUses,
    holders: Holders,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return the application's lifespan.

    At startup it prepares the database, wires the services and starts the embedded processes; at
    shutdown it undoes all that in reverse order.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            await run_in_threadpool(_open, app, platform, metrics, stack)
            stack.callback(uses.close)
            stack.callback(holders.close)
            yield
            await rates.close()
            await run_in_threadpool(stack.close)

    return lifespan


def _open(app: FastAPI, platform: Platform, metrics: Metrics, stack: ExitStack) -> None:
    settings = platform.settings
    settings.home.mkdir(parents=True, exist_ok=True)
    stack.callback(bootstrap.close, platform)
    if settings.migrate_on_start:
        bootstrap.migrate(settings)
    made = ensure_admin_key(platform)
    if made is not None:
        sys.stdout.write(
            f"The admin key of this service, shown only now (only its hash is stored): {made}\n"
        )
        sys.stdout.flush()
    ensure_default_policy(platform)
    ensure_split(platform)
    decoder = stack.enter_context(closing(bootstrap.decoder(settings)))
    celery = stack.enter_context(closing(CeleryNotifier(settings)))
    notifier = stack.enter_context(closing(BackgroundNotifier(celery)))
    if settings.embedded:
        settings = with_inference_key(settings)
    buckets = stack.enter_context(closing(bootstrap.import_buckets(settings)))
    inference = stack.enter_context(closing(Inference(settings)))
    shadows = stack.enter_context(closing(Inference(settings)))
    trials = stack.enter_context(closing(TrialTraffic(platform, shadows, decoder)))
    versions = stack.enter_context(closing(VersionLookup(platform)))
    app.state.services = Services(
        platform=platform,
        decoder=decoder,
        notifier=notifier,
        inference=inference,
        pixels=PixelBudget(),
        calibrations=Calibrations(platform),
        find_version=versions.find,
        trials=trials,
        webhooks=bootstrap.webhook_client(settings),
        buckets=buckets,
        archives=ArchiveReader(buckets, bootstrap.table_reader(settings)),
        signatures=bootstrap.signatures(settings),
        metrics=metrics,
        sign_ins=stack.enter_context(closing(SignIns(platform))),
        streams=Counter(),
        sign_in_link=sign_in_link(platform),
        decoding=stack.enter_context(closing(Threads(DECODING, "decoding"))),
        advising=CapacityLimiter(ADVISING),
        listing=CapacityLimiter(LISTING),
    )
    if settings.embedded:
        processes = EmbeddedProcesses(settings)
        stack.callback(processes.stop)
        processes.start()


def sign_in_link(platform: Platform) -> SignInLink | None:
    """Return a link for whoever reads what this process prints on their own machine.

    None for a service that other machines reach, or without an admin key that lets anyone in.
    """
    if not platform.settings.embedded or not is_loopback(platform.settings.host):
        return None
    secret = admin_secret(platform)
    return None if secret is None else SignInLink(secret, platform.clock)
