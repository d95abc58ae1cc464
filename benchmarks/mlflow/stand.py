"""A real service and a real MLflow beside it, which has an environment of its own.

The service has a model with three versions: its root, one that has passed and is live, and one on
which the gate has not decided.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from demo.images import by_class, named
from demo.service import running_service
from devtools.ports import free_port
from perennial.client import Client
from perennial.terminal.session import KEY, URL

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "var/mlflow"  # where `make` installs MLflow
MODEL, ALIAS = "demo", "champion"
CLASSES = 4  # of an update
START_S = 180

LENIENT: dict[str, Any] = {
    "minimum_count": 1,
    "alpha": 0.2,
    "gain_error": 0.5,
    "reason": "a version that passes",
    **dict.fromkeys(("parent_tolerance", "root_tolerance", "union_tolerance"), 1.0),
    **dict.fromkeys(("holdout_tolerance", "settled_tolerance"), 0.5),
}
STRICT: dict[str, Any] = {"minimum_count": 10_000, "reason": "a version that does not"}
RECIPE = {"method": "vrlwf", "batch_size": 32, "learning_rate": 1e-4, "seed": 1}
UPDATES = (("lenient", 60, 4), ("strict", 20, 1))  # policy, images of a class, epochs


@dataclass(frozen=True, kw_only=True)
class Stand:
    """A service with the model, a registry, and the Python that has MLflow."""

    client: Client
    registry: str
    python: str
    environment: dict[str, str]
    home: Path

    def run(self, *words: str) -> Any:
        """Run a Python program with MLflow, and return the JSON that it prints."""
        ended = subprocess.run(
            [self.python, *words], env=self.environment, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            sys.exit(f"{' '.join(words)}\n{ended.stdout}{ended.stderr}")
        return json.loads(ended.stdout)

    def mirror(self, *options: str) -> Any:
        """Mirror the model, and return what has changed."""
        return self.run("-m", "perennial", "mlflow", "mirror", MODEL, "--json", *options)

    def numbers(self) -> dict[int, str]:
        """Return MLflow's numbers of the versions."""
        return {
            int(tag["value"]): one["version"]
            for one in self.versions()
            for tag in one["tags"]
            if tag["key"] == "perennial.version"
        }

    def versions(self) -> list[Any]:
        """Return the versions that MLflow shows, by its HTTP API."""
        url = f"{self.registry}/api/2.0/mlflow/model-versions/search"
        answer = httpx.get(url, params={"filter": f"name='{MODEL}'"}, trust_env=False)
        found: list[Any] = answer.json()["model_versions"]
        return found

    def bad(self) -> list[str]:
        """Return MLflow's numbers of the versions that may not stand at the alias."""
        live = self.client.aliases.get(MODEL)["version"]
        passed = {
            one["version"]
            for one in self.client.versions.list(MODEL)
            if one["verdict"] == "passed" or one["version"] == live
        }
        return [number for version, number in self.numbers().items() if version not in passed]

    def move(self, count: int, *, seed: int, waited: float, direct: bool = False) -> Any:
        """Move the alias at random; `waited` is the share of bad moves that are waited for.

        `direct`, MLflow's client writes to the server's database itself, which is faster.
        """
        program = str(Path(__file__).with_name("moves.py"))
        at = database(self.home) if direct else self.registry
        given = (at, MODEL, ALIAS, str(count), str(seed), str(waited))
        return self.run(program, *given, *self.bad())

    @contextmanager
    def guarding(self, every: float) -> Iterator[list[Any]]:
        """Run a guard of the alias; its events are in the list once it has ended."""
        events: list[Any] = []
        words = ("-m", "perennial", "mlflow", "guard", MODEL, "--alias", ALIAS, "--json")
        told = self.home / "events.jsonl"
        with told.open("wb") as out:
            guard = subprocess.Popen(
                [self.python, *words, "--every", str(every)],
                env=self.environment,
                stdout=out,
                stderr=subprocess.DEVNULL,
            )
            try:
                yield events
            finally:
                guard.terminate()
                guard.wait()
        events += map(json.loads, told.read_text().splitlines())

    @contextmanager
    def server(self, *words: str, answers: str, port: int) -> Iterator[str]:
        """Run a program of MLflow until the path `answers` does, and yield its address."""
        with mlflow_server(self.python, words, port, answers, self.environment, self.home) as url:
            yield url


def database(home: Path) -> str:
    """Return the address of MLflow's database below a folder."""
    return f"sqlite:///{home}/mlflow.db"


@contextmanager
def a_stand(home: Path) -> Iterator[Stand]:
    """Start both, teach the model, and stop them at the end."""
    python = str(ENVIRONMENT / "bin/python")
    port = free_port()
    words = (
        *("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", database(home)),
        *("--artifacts-destination", str(home / "artifacts")),
    )
    own = {**os.environ, "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT / "client")}
    own["PATH"] = os.pathsep.join([str(ENVIRONMENT / "bin"), own["PATH"]])  # MLflow starts programs
    with (
        running_service(home / "service") as service,
        service.client() as client,
        mlflow_server(python, words, port, "health", own, home) as url,
    ):
        own |= {URL: service.url, KEY: service.key, "MLFLOW_TRACKING_URI": url}
        teach(client)
        yield Stand(client=client, registry=url, python=python, environment=own, home=home)


@contextmanager
def mlflow_server(
    python: str,
    words: tuple[str, ...],
    port: int,
    answers: str,
    environment: dict[str, str],
    home: Path,
) -> Iterator[str]:
    """Run a program of MLflow in a group of its own until a path answers; yield its address."""
    url = f"http://127.0.0.1:{port}"
    with (home / f"mlflow-{words[0]}.log").open("wb") as log:
        server = subprocess.Popen(
            [python, "-m", "mlflow", *words],
            env=environment,
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_S
            while not _answers(f"{url}/{answers}"):
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit(Path(log.name).read_text("utf-8", "replace"))
                time.sleep(0.1)
            yield url
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


def teach(client: Client) -> None:
    """Make the model and teach it twice: by the first policy it passes, by the second it cannot."""
    client.datasets.create("emoji")
    client.datasets.upload("emoji", [(one.text, one.file) for one in named("twemoji")[:40]])
    client.datasets.freeze("emoji")
    client.suites.create("emoji", kind="zero_shot", dataset="emoji", dataset_version=1)
    client.policies.create("lenient", **LENIENT)
    client.policies.create("strict", **STRICT)
    client.jobs.wait(client.models.create(MODEL, suites=["emoji"], policy="lenient")["id"])
    images = by_class("fashion_mnist", "train")
    names = sorted(images)
    for turn, (policy, per_class, epochs) in enumerate(UPDATES):
        client.models.change(MODEL, policy=policy, reason="the next update")
        dataset, taught = f"classes-{turn}", names[turn * CLASSES : (turn + 1) * CLASSES]
        chosen = [one for name in taught for one in images[name][:per_class]]
        client.datasets.create(dataset)
        client.datasets.upload(dataset, [(one.text, one.file) for one in chosen])
        recipe = {**RECIPE, "epochs": epochs}
        job = client.jobs.order_update(model=MODEL, dataset=dataset, recipe=recipe)
        client.jobs.wait(job["id"])
    verdicts = [one["verdict"] for one in client.versions.list(MODEL)]
    if verdicts != [None, "passed", "inconclusive"]:
        reasons = [client.versions.report(MODEL, number)["reasons"] for number in (2, 3)]
        sys.exit(f"The versions' verdicts are {verdicts}: {reasons}")
