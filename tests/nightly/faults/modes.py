"""The modes of the service: in production and embedded, each on a stage of its own."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
    with ExitStack() as stack:
        database = stack.enter_context(postgres_server(DURABLE, disk))
        broker = stack.enter_context(redis_server())
        run_sql(database.url, "postgres", "CREATE DATABASE faults")
        home = Path(stack.enter_context(_folder()))
        replicas = (f"http://127.0.0.1:{free_port()}" for _ in range(REPLICAS))
        site = Site(
            home,
            **SETTINGS,
            import_buckets=(a_bucket(),),
            inference_key=SecretStr(KEY),
            inference_url=" ".join(replicas),
            broker_url=broker.url,
            database_url=database.url.format(name="faults"),
            embedded=False,
            port=free_port(),
            root_folders=(home,),
            **changes,
        )
        programs = [
            Program(command=API),
            Program(command=WORKER),
            Program(command=WORKER, environment=second or {}),
        ]
        points = Points(Path(stack.enter_context(_folder())))
        yield from _run(Stage(site, points, programs, database=database, broker=broker))


@contextmanager
def embedded(home: Path | None = None) -> Iterator[Stage]:
    """The embedded service: SQLite, a filesystem broker, one worker, inference."""
    with ExitStack() as stack:
        home = home or Path(stack.enter_context(_folder()))
        site = Site(
            home,
            **SETTINGS,
            import_buckets=(a_bucket(),),
            port=free_port(),
            inference_port=free_port(),
            root_folders=(home,),
        )
        points = Points(Path(stack.enter_context(_folder())))
        yield from _run(Stage(site, points, [Program(command=API)]))


def _run(stage: Stage) -> Iterator[Stage]:
    try:
        stage.open()
        yield stage
    finally:
        stage.close()


def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="perennial-faults-", ignore_cleanup_errors=True)


def a_bucket() -> ImportBucket:
    """A bucket on a free port of this machine."""
    return ImportBucket(
        name="photos",
        endpoint=f"http://127.0.0.1:{free_port()}",
        region="us-east-1",
        access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
