"""Worker and inference processes that run as children of an embedded API process."""

import ipaddress
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager

from anyio import CapacityLimiter
from fastapi import FastAPI
from pydantic import BaseModel, SecretStr
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.http.authentication import KeyUses
from api.http.lookups import SharedLookup, VersionLookup
from api.inference_client.client import Inference, with_inference_key
from api.inference_client.questions import PixelBudget
from api.observability import Metrics
from api.rates import Rates
from api.trial_traffic import TrialTraffic
from core import bootstrap
from core.access.authenticate import SignInLink
from core.access.keys import ensure_admin_key, require_unguessable
from core.access.rules import is_confidential
from core.archives.reader import StreamingArchiveReader
from core.bootstrap import signatures
from core.errors import UnsafeConfiguration
from core.evaluation.evaluate import Calibrations
from core.gate.policies import ensure_default_policy
from core.jobs.broker import BackgroundNotifier, CeleryNotifier
from core.platform import Platform
from core.principal import Principal
from core.settings import Settings

MODULES = ("worker.supervision", "worker.inference")

POLL_EVERY_S = 0.5

RESTART_AFTER_S = 2.0

MARGIN_S = 2.0  # a supervisor gives the grace time to its child, then releases the job

log = logging.getLogger(__name__)


class EmbeddedProcesses:
    """Keeps one process of each module running, each in its own process group.

    Each process holds the read end of a pipe whose write end only this process has, and exits
    when that pipe closes. So none is left over even if this process receives SIGKILL.
    """

    def __init__(
        self, settings: Settings, modules: Sequence[str] = MODULES, *, python: str = sys.executable
    ) -> None:
        self._settings = settings
        self._modules = modules
        self._python = python
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._restarter = threading.Thread(
            target=self._restart_ended, name="embedded-processes", daemon=True
        )

    def start(self) -> None:
        """Start the processes, and restart any that ends."""
        for module in self._modules:
            self._launch(module)
        self._restarter.start()

    def stop(self) -> None:
        """Stop the processes and return when none is left.

        Each gets SIGTERM and, after the grace time, SIGKILL.
        """
        self._stopping.set()
        if self._restarter.is_alive():
            self._restarter.join()
        for process in self._running.values():
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + self._settings.grace_seconds + MARGIN_S
        for process in self._running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("process %s did not exit in time: sending SIGKILL", process.pid)
            _signal_group(process, signal.SIGKILL)
            process.wait()
            _close_pipe(process)

    def _restart_ended(self) -> None:
        while not self._stopping.wait(POLL_EVERY_S):
            for module in self._modules:
                if self._running[module].poll() is not None:
                    try:
                        self._restart(module)
                    except OSError as error:
                        log.warning("cannot start %s: %s", module, error)

    def _restart(self, module: str) -> None:
        ended = self._running[module]
        log.warning("%s exited with code %s: restarting it", module, ended.returncode)
        _signal_group(ended, signal.SIGKILL)  # it may have left children in its group
        _close_pipe(ended)
        if not self._stopping.wait(RESTART_AFTER_S):
            self._launch(module)

    def _launch(self, module: str) -> None:
        self._running[module] = subprocess.Popen(  # noqa: S603 - our own modules
            [self._python, "-m", module, "--exit-with-parent"],
            stdin=subprocess.PIPE,
            env=os.environ | to_environment(self._settings),
            start_new_session=True,
        )


def to_environment(settings: Settings) -> Mapping[str, str]:
    """Return environment variables from which another process reads the same settings."""
    return {f"PERENNIAL_{name.upper()}": _to_text(value) for name, value in settings}


def _to_text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case tuple() | Mapping():
            return json.dumps(value, default=_to_json)
        case _:
            return str(value)


def _to_json(value: object) -> object:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case BaseModel():
            return dict(value)
        case _:
            return str(value)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return  # no process is left in the group


def _close_pipe(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


# Checks of the settings before the service starts.


def require_safe(settings: Settings) -> None:
    """Raise UnsafeConfiguration for a guessable key, or for a reachable service without a key.

    Likewise for keys of bundles that cannot be read.
    """
    key = settings.admin_key.get_secret_value()
    if key:
        require_unguessable("PERENNIAL_ADMIN_KEY", key)
    inference_key = settings.inference_key.get_secret_value()
    if inference_key:
        require_unguessable("PERENNIAL_INFERENCE_KEY", inference_key)
    signatures(settings)
    if settings.oidc_issuer or settings.oidc_audience:
        _require_issuer(settings)
    if not key and not is_loopback(settings.host):
        raise UnsafeConfiguration(
            f"Binding to {settings.host} makes the service reachable from other machines: "
            "set PERENNIAL_ADMIN_KEY. `perennial key` prints one."
        )


def _require_issuer(settings: Settings) -> None:
    """Raise UnsafeConfiguration unless tokens have an issuer and an audience to be checked for."""
    if not settings.oidc_issuer or not settings.oidc_audience:
        raise UnsafeConfiguration("Set PERENNIAL_OIDC_ISSUER and PERENNIAL_OIDC_AUDIENCE together.")
    if not is_confidential(settings.oidc_issuer):
        raise UnsafeConfiguration(
            "PERENNIAL_OIDC_ISSUER must be an https URL: whoever can change what it answers can "
            "make tokens. http is accepted for an issuer on this machine alone."
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


# Startup and shutdown of the application.


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
