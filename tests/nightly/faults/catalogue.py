"""The fault table: every row, on which stage, how often."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial

from tests.nightly.faults.rows import (
    alerts,
    aliases,
    bit_flips,
    buckets,
    clock,
    disk_full,
    inference,
    killed_worker,
    servers,
    slow_clients,
    webhooks,
    workers,
)
from tests.nightly.faults.stage import Stage, embedded, production
from tests.nightly.faults.tries import Row

STAGES: Mapping[str, Callable[[], AbstractContextManager[Stage]]] = {
    "production": production,
    "embedded": embedded,
    "cramped": disk_full.cramped,
    "stuffed": servers.stuffed,
    "ahead": partial(clock.skewed, clock.HOUR_S),
    "behind": partial(clock.skewed, -clock.HOUR_S),
}

ROWS = (
    Row(name="worker_kill", stage="production", tries=100, short=1, run=workers.kill),
    Row(name="worker_stop", stage="production", tries=50, short=1, run=workers.stop),
    Row(name="sigterm", stage="production", tries=10, short=1, run=workers.sigterm),
    Row(name="messages", stage="production", tries=10, short=1, run=workers.messages),
    Row(name="out_of_memory", stage="production", tries=4, short=1, run=workers.want_memory),
    Row(name="api_kill", stage="production", tries=25, short=1, run=servers.api, limit_s=None),
    Row(name="redis_kill", stage="production", tries=25, short=1, run=servers.redis),
    Row(name="redis_flush", stage="production", tries=25, short=1, run=servers.flush),
    Row(name="postgres_kill", stage="production", tries=25, short=1, run=servers.postgres),
    Row(name="alias_races", stage="production", tries=1000, short=0, run=aliases.races),
    Row(name="alerts", stage="production", tries=12, short=1, run=alerts.run),
    Row(name="slow_clients", stage="production", tries=5, short=1, run=slow_clients.run),
    Row(name="webhook_sender_kill", stage="production", tries=25, short=1, run=webhooks.run),
    Row(name="import_kill", stage="production", tries=24, short=1, run=killed_worker.imports),
    Row(name="bucket", stage="production", tries=25, short=0, run=buckets.run),
    Row(name="erasure_kill", stage="production", tries=12, short=0, run=killed_worker.erasures),
    Row(name="export_kill", stage="production", tries=24, short=0, run=killed_worker.exports),
    Row(
        name="version_import_kill",
        stage="production",
        tries=24,
        short=0,
        run=killed_worker.versions,
    ),
    Row(name="trial", stage="production", tries=12, short=0, run=inference.trials),
    Row(name="replica_kill", stage="production", tries=10, short=0, run=inference.kill_replicas),
    Row(name="worker_kill", stage="embedded", tries=24, short=0, run=workers.kill),
    Row(name="sigterm", stage="embedded", tries=5, short=1, run=workers.sigterm),
    Row(name="api_kill", stage="embedded", tries=12, short=0, run=servers.api, limit_s=None),
    Row(name="webhook_sender_kill", stage="embedded", tries=12, short=0, run=webhooks.run),
    Row(name="import_kill", stage="embedded", tries=12, short=0, run=killed_worker.imports),
    Row(name="bucket", stage="embedded", tries=25, short=2, run=buckets.run),
    Row(name="erasure_kill", stage="embedded", tries=12, short=0, run=killed_worker.erasures),
    Row(name="export_kill", stage="embedded", tries=12, short=1, run=killed_worker.exports),
    Row(name="trial", stage="embedded", tries=12, short=1, run=inference.trials),
    Row(
        name="version_import_kill",
        stage="embedded",
        tries=12,
        short=0,
        run=killed_worker.versions,
    ),
    Row(name="alias_races", stage="embedded", tries=200, short=4, run=aliases.races),
    Row(
        name="rollback",
        stage="embedded",
        tries=25,
        short=1,
        run=aliases.rollback,
        limit_s=aliases.SOON_S,
    ),
    Row(
        name="bit_flips",
        stage="embedded",
        tries=200,
        short=len(bit_flips.WAYS),
        run=bit_flips.run,
        limit_s=None,
    ),
    Row(name="disk_full", stage="cramped", tries=20, short=5, run=disk_full.run),
    Row(name="database_full", stage="stuffed", tries=5, short=1, run=servers.want_room),
    Row(name="clock", stage="ahead", tries=8, short=1, run=clock.run),
    Row(name="clock", stage="behind", tries=8, short=0, run=clock.run),
)
