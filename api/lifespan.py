"""Startup and shutdown of the application."""

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager

from anyio import CapacityLimiter
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.embedded_processes import EmbeddedProcesses
from api.http.authentication.key_uses import KeyUses
from api.http.lookups.shared_lookup import SharedLookup
from api.http.lookups.version_lookup import VersionLookup
from api.inference.client import Inference, with_inference_key
from api.inference.pixel_budget import PixelBudget
from api.observability.metrics import Metrics
from api.rates import Rates
from api.startup_checks import is_loopback
from api.trial_traffic.traffic import TrialTraffic
from core import bootstrap
from core.adapters.archives.reader import StreamingArchiveReader
from core.adapters.broker.background_notifier import BackgroundNotifier
from core.adapters.broker.notifier import CeleryNotifier
from core.domain.access.principal import Principal
from core.ports import Platform
from core.settings import Settings
from core.use_cases.access.bootstrap_keys import ensure_admin_key
from core.use_cases.access.sign_in_link import SignInLink
from core.use_cases.datasets.suites import ensure_default_policy
from core.use_cases.evaluation.calibrations import Calibrations

DECODING = 8  # threads, of the 40 that all requests share
ADVISING = 4
LISTING = 4  # orders of imports from buckets, which may be slow to answer


def make_lifespan(
    settings: Settings,
    platform: Platform,
    metrics: Metrics,
    rates: Rates,
    uses: KeyUses,
    lookups: Sequence[SharedLookup[str, Principal]],
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return the application's lifespan.

    At startup it prepares the database, wires the services and starts the embedded processes; at
    shutdown it undoes all that in reverse order.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            await run_in_threadpool(_open, app, settings, platform, metrics, stack)
            stack.callback(uses.close)
            for lookup in lookups:
                stack.callback(lookup.close)
            yield
            await rates.close()
            await run_in_threadpool(stack.close)

    return lifespan


def _open(
    app: FastAPI, settings: Settings, platform: Platform, metrics: Metrics, stack: ExitStack
) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    stack.callback(bootstrap.close, platform)
    if settings.migrate_on_start:
        bootstrap.migrate(settings)
    made = ensure_admin_key(platform)
    _print_admin_key(made)
    ensure_default_policy(platform)
    decoder = bootstrap.decoder(settings)
    stack.callback(decoder.close)
    celery = CeleryNotifier(settings)
    stack.callback(celery.close)
    notifier = BackgroundNotifier(celery)
    stack.callback(notifier.close)
    if settings.embedded:
        settings = with_inference_key(settings)
    buckets = bootstrap.import_buckets(settings)
    stack.callback(buckets.close)
    inference = Inference(settings)
    stack.callback(inference.close)
    shadows = Inference(settings)
    stack.callback(shadows.close)
    trials = TrialTraffic(platform, shadows, decoder)
    stack.callback(trials.close)
    versions = VersionLookup(platform)
    stack.callback(versions.close)
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
        archives=StreamingArchiveReader(buckets),
        signatures=bootstrap.signatures(settings),
        metrics=metrics,
        sign_in_link=_sign_in_link(platform, made),
        decoding=CapacityLimiter(DECODING),
        advising=CapacityLimiter(ADVISING),
        listing=CapacityLimiter(LISTING),
    )
    if settings.embedded:
        processes = EmbeddedProcesses(settings)
        stack.callback(processes.stop)
        processes.start()


def _sign_in_link(platform: Platform, made: str | None) -> SignInLink | None:
    """Return a link for whoever reads what this process prints on their own machine."""
    settings = platform.settings
    key = made or settings.admin_key.get_secret_value()
    if not key or not settings.embedded or not is_loopback(settings.host):
        return None
    return SignInLink(key, platform.clock)


def _print_admin_key(key: str | None) -> None:
    if key is not None:
        sys.stdout.write(
            f"The admin key of this service, shown only now (only its hash is stored): {key}\n"
        )
        sys.stdout.flush()
