"""The compose file's services started by hand, with its commands and its environment.

Redis is started by the file as well; PostgreSQL and S3 are the real servers that the contract
tests use. What a container would add (its user, its limits, its files) is not here.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from demo.images import by_class
from demo.service import stop
from devtools.ports import free_port
from devtools.programs import REDIS, find
from devtools.servers import FAST, postgres_server, run_sql, s3_server
from perennial.client import Client
from tests.support.deployment import compose
from tests.support.places import ROOT
from tests.support.processes import wait_for

SECRETS = {
    "PERENNIAL_ADMIN_KEY": "pk_only-this-journey-knows-of-it",
    "PERENNIAL_INFERENCE_KEY": "pk_that-api-and-inference-share",
    "POSTGRES_PASSWORD": "open-the-database",
    "REDIS_PASSWORD": "open-the-broker",
    "S3_ACCESS_KEY": "an-access-key",
    "S3_SECRET_KEY": "a-secret-key-of-some-length",
}

SERVICES = compose.services(SECRETS | {"COMPOSE_PROFILES": "cpu", "WORKER_CPUS": "1"})

LATE_S = 300  # two processes load torch, and the machine may be busy

GREETINGS = (
    "Perennial is running at",
    "If nobody has an admin key",
    "The database schema is",
    "Created the bucket",
)


class ByHand:
    """Processes with the commands and the environment of the file's services, and no other.

    `places` says what stands on this machine for what the file names: hosts, ports, folders.
    """

    def __init__(self, places: Mapping[str, str], logs: Path) -> None:
        self._places = places
        self._logs = logs

    def started(self, service: str, *options: str, **more: str) -> "subprocess.Popen[bytes]":
        """Start a service; `options` and `more` are what the file need not say to a container."""
        with (self._logs / f"{service}.log").open("wb") as log:
            return subprocess.Popen(
                [*self._command(SERVICES[service]["command"]), *options],
                env=self._environment(service) | more,
                cwd=ROOT,  # the image's folder
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_healthy(self, service: str) -> bool:
        """True if the service's own check says so."""
        command = self._command(SERVICES[service]["healthcheck"]["test"][1:])
        done = subprocess.run(command, env=self._environment(service), cwd=ROOT, check=False)
        return done.returncode == 0

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self._logs.iterdir()))

    def _environment(self, service: str) -> dict[str, str]:
        given = SERVICES[service].get("environment", {})
        here = {name: self._put(str(value)) for name, value in given.items()}
        return {"PATH": os.environ["PATH"], **here}

    def _command(self, parts: list[str]) -> list[str]:
        program = {
            "python": sys.executable,
            "perennial": str(Path(sys.executable).with_name("perennial")),
        }
        return [program.get(parts[0], parts[0]), *map(self._put, parts[1:])]

    def _put(self, text: str) -> str:
        names = re.compile("|".join(map(re.escape, self._places)))
        return names.sub(lambda found: self._places[found[0]], text)


@contextmanager
def database(port: str) -> Iterator[None]:
    """PostgreSQL, with what its image makes of POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB."""
    with postgres_server(f"{FAST} -c listen_addresses=127.0.0.1 -c port={port}") as server:
        where, password = f"{server.url}&port={port}", SECRETS["POSTGRES_PASSWORD"]
        run_sql(where, "postgres", f"CREATE ROLE perennial LOGIN PASSWORD '{password}'")
        run_sql(where, "postgres", "CREATE DATABASE perennial OWNER perennial")
        yield


def test_every_service_starts_is_healthy_and_serves_a_model(tmp_path: Path) -> None:
    ports = {name: str(free_port()) for name in ("postgres", "redis", "8750", "8751")}
    logs, data = tmp_path / "logs", tmp_path / "data"
    logs.mkdir()
    data.mkdir()
    find(REDIS)
    with ExitStack() as stack:
        stack.enter_context(database(ports["postgres"]))
        s3, _ = stack.enter_context(s3_server())
        places = {
            "postgres:5432": f"127.0.0.1:{ports['postgres']}",
            "redis:6379": f"127.0.0.1:{ports['redis']}",
            "http://s3:7070": s3,
            "inference:8751": f"127.0.0.1:{ports['8751']}",
            "8750": ports["8750"],
            "8751": ports["8751"],
            "/data": str(data),
        }
        hands = ByHand(places, logs)
        redis = hands.started(
            "redis", "--dir", str(data), "--bind", "127.0.0.1", "--port", ports["redis"]
        )
        stack.callback(stop, redis)
        assert hands.started("migrate").wait(LATE_S) == 0, hands.log()
        url, key = f"http://127.0.0.1:{ports['8750']}", SECRETS["PERENNIAL_ADMIN_KEY"]
        client = stack.enter_context(Client(url, key, trust_env=False))
        for service, more in (
            ("worker", {}),
            ("inference", {"PERENNIAL_INFERENCE_PORT": ports["8751"]}),
            ("api", {}),
        ):
            stack.callback(stop, hands.started(service, **more))
        wait_for(client.is_ready, seconds=LATE_S)  # first, for each check is a process
        for service in ("api", "worker", "inference"):
            wait_for(lambda service=service: hands.is_healthy(service), seconds=LATE_S, every=0.5)

        client.jobs.wait(client.models.create("shop", base="bundled")["id"], timeout=LATE_S)
        images = by_class("fashion_mnist", "test")
        classes = sorted(images)[:2]
        served = client.classify("shop", [images[name][0].file for name in classes], classes)
        assert (served["version"], len(served["data"])) == (1, 2)
    assert_plain_words_and_no_secret(logs)


def assert_plain_words_and_no_secret(logs: Path) -> None:
    """See that our processes have written JSON, but for greetings, and none of the secrets."""
    texts = [path.read_text() for path in logs.iterdir() if path.stem != "redis"]
    lines = [line for text in texts for line in text.splitlines()]
    assert [line for line in lines if not line.startswith(("{", *GREETINGS))] == []
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert {"api", "inference", "worker"} <= {line["process"] for line in told}
    assert "job claimed" in {line["event"] for line in told}
    assert not [secret for secret in SECRETS.values() if secret in "\n".join(texts)]
