"""The modes of the service: in production and embedded, each on a stage of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import SecretStr

from core.settings import ImportBucket
from devtools.ports import free_port
from devtools.servers import CREDENTIALS, DURABLE, postgres_server, redis_server, run_sql
from tests.nightly.faults.points import Points
from tests.nightly.faults.stage import API, KEY, WORKER, Program, Stage
from tests.support.bundles import OURS
from tests.support.processes import Site

SETTINGS: Mapping[str, Any] = {
    "admin_key": SecretStr(KEY),
    "signing_key": SecretStr(OURS.private),
    "trusted_keys": {"ours": OURS.public},
    "checkpoint_seconds": 0.25,  # several in an update, which takes a second or more
    "grace_seconds": 5.0,
    "lease_seconds": 4.0,
    "min_free_bytes": 1,
    "rate_requests": 1_000_000,
    "sweep_seconds": 0.5,
    "webhook_private": True,
    "webhook_seconds": 1.0,
}

REPLICAS = 2  # of inference in production, which only the row about them starts

RECOVERY_S = SETTINGS["lease_seconds"] + 15.0


@contextmanager
def production(
    *, second: Mapping[str, str] | None = None, disk: Path | None = None, **changes: Any
) -> Iterator[Stage]:
    """API and two workers on PostgreSQL and Redis.

    `second` is the second worker's environment, `disk` an empty folder for the database.
    """
    programs = [
        Program(command=API),
        Program(command=WORKER),
        Program(command=WORKER, environment=second or {}),
    ]
    replicas = (f"http://127.0.0.1:{free_port()}" for _ in range(REPLICAS))
    with postgres_server(DURABLE, disk) as database, redis_server() as broker:
        run_sql(database.url, "postgres", "CREATE DATABASE faults")
        with _stage(
            programs,
            inference_key=SecretStr(KEY),
            inference_url=" ".join(replicas),
            broker_url=broker.url,
            database_url=database.url.format(name="faults"),
            embedded=False,
            **changes,
        ) as stage:
            stage.database, stage.broker = database, broker
            yield stage


@contextmanager
def embedded(home: Path | None = None) -> Iterator[Stage]:
    """The embedded service: SQLite, a filesystem broker, one worker, inference."""
    with _stage([Program(command=API)], home, inference_port=free_port()) as stage:
        yield stage


@contextmanager
def _stage(programs: list[Program], home: Path | None = None, **changes: Any) -> Iterator[Stage]:
    """Programs that run on an empty folder, with a bucket on a free port of this machine."""
    bucket = ImportBucket(
        name="photos",
        endpoint=f"http://127.0.0.1:{free_port()}",
        region="us-east-1",
        access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    with _folder() as own, _folder() as points:
        home = home or Path(own)
        site = Site(
            home,
            **SETTINGS,
            import_buckets=(bucket,),
            port=free_port(),
            root_folders=(home,),
            **changes,
        )
        stage = Stage(site, Points(Path(points)), programs)
        try:
            stage.open()
            yield stage
        finally:
            stage.close()


def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="perennial-faults-", ignore_cleanup_errors=True)
