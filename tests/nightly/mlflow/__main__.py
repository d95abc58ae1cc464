"""Mirror a model to a real MLflow server and guard an alias there: `make test-mlflow`.

The server and MLflow's own client run in an environment of their own, whose packages do not fit
this one's. Prints how long moves to versions stood that the gate had not passed, and ends with an
error if one is left standing, or if the mirror is not what the service says.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np

from benchmarks.output import publish
from core.datasets.manifests import Side
from devtools.ports import free_port
from perennial.requests import ImageFile
from perennial.terminal.session import KEY, URL
from tests.support.api.image_files import pictures_on
from tests.support.api.service import KEY as ADMIN
from tests.support.places import ROOT
from tests.support.processes import wait_for
from tests.unit.client.commands.conftest import Site, a_site

MODEL, ALIAS = "demo", "champion"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def main() -> None:
    """Mirror, check, move at random; end with an error unless all is as it must be."""
    parser = argparse.ArgumentParser(prog="make test-mlflow ARGS=...", description=__doc__)
    parser.add_argument("--moves", type=int, default=1000, help="at random (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moves")
    parser.add_argument("--every", type=float, default=0.05, help="seconds between looks")
    parser.add_argument("--environment", type=Path, default=ROOT / "var/mlflow", help="of MLflow")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    python = str(chosen.environment.absolute() / "bin/python")
    with (
        tempfile.TemporaryDirectory() as home,
        a_site(Path(home) / "site", MODEL) as site,
        mlflow_server(python, Path(home)) as url,
    ):
        own = {**os.environ, URL: site.url, KEY: ADMIN, "PYTHONPATH": str(ROOT / "client")}
        own |= {"MLFLOW_TRACKING_URI": url, "NO_PROXY": "127.0.0.1"}
        command = [python, "-m", "perennial", "mlflow"]
        teach(site, "good", forgets=False)
        teach(site, "bad", forgets=True)
        first = told([*command, "mirror", MODEL, "--json"], own)
        again = told([*command, "mirror", MODEL, "--json"], own)
        numbers = check(site, url)
        bad = [
            numbers[one["version"]]
            for one in site.client.versions.list(MODEL)
            if one["verdict"] != "passed" and one["version"] != live(site)
        ]
        guard = subprocess.Popen(
            [
                *command,
                "guard",
                MODEL,
                "--alias",
                ALIAS,
                "--every",
                str(chosen.every),
                "--json",
            ],
            env=own,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            moves = [python, str(Path(__file__).with_name("moves.py")), url, MODEL, ALIAS]
            found = told([*moves, str(chosen.moves), str(chosen.seed), *bad], own)
        finally:
            guard.terminate()
            events = [json.loads(line) for line in guard.communicate()[0].splitlines()]
    stood = sorted(found.pop("stood"))
    row = {
        **found,
        "events": len(events),
        "waited for": len(stood),
        "median_s": median(stood),
        "p99_s": float(np.quantile(stood, 0.99)),
        "longest_s": stood[-1],
    }
    publish("mlflow", [row], every=chosen.every, seed=chosen.seed)
    wrong = [one for one in events if one["from_version"] not in bad]
    assert first == {"versions": 3, "reports": 2, "aliases": 1}, first
    assert again == {"versions": 0, "reports": 0, "aliases": 0}, again
    assert not wrong, wrong
    assert found["at"] not in bad, found
    print(f"None of {found['bad']} moves to a version that had not passed is left standing.")


def teach(site: Site, name: str, *, forgets: bool) -> None:
    """Teach the model a dataset; the version does not go live by itself."""
    site.learner.forgets = forgets
    images = [
        (("boot", "bag")[n % 2], ImageFile(file_name=f"{n}.png", data=data))
        for side, count in ((Side.TRAIN, 6), (Side.HOLDOUT, 16))
        for n, data in enumerate(pictures_on(side, count))
    ]
    site.client.datasets.create(name)
    site.client.datasets.upload(name, images)
    job = site.client.jobs.order_update(model=MODEL, dataset=name, auto_promote=name == "good")
    site.client.jobs.wait(job["id"], every=0.05)


def live(site: Site) -> int:
    return site.client.aliases.get(MODEL)["version"]


@contextmanager
def mlflow_server(python: str, home: Path) -> Iterator[str]:
    """Run a server of MLflow on SQLite, and yield its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [
            python,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
            "--backend-store-uri",
            f"sqlite:///{home}/mlflow.db",
            "--artifacts-destination",
            str(home / "artifacts"),
        ],
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: answers(f"{url}/health"), seconds=120)
        yield url
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


def told(command: list[str], environment: dict[str, str]) -> Any:
    """Return the JSON that a command prints."""
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{' '.join(command)}\n{ended.stdout}{ended.stderr}")
    return json.loads(ended.stdout)


def check(site: Site, url: str) -> dict[int, str]:
    """See by MLflow's HTTP API that it shows what the service says.

    Return MLflow's numbers of the versions.
    """
    api = f"{url}/api/2.0/mlflow"
    with httpx.Client(trust_env=False) as http:
        answer = http.get(f"{api}/model-versions/search", params={"filter": f"name='{MODEL}'"})
        found = {
            int(tags["perennial.version"]): (one, tags)
            for one in answer.json()["model_versions"]
            for tags in [{tag["key"]: tag["value"] for tag in one["tags"]}]
        }
        for version in site.client.versions.list(MODEL):
            one, tags = found.pop(version["version"])
            assert tags["perennial.digest"] == version["digest"]
            assert tags["perennial.verdict"] == (version["verdict"] or "none")
            listed = http.get(f"{api}/artifacts/list", params={"run_id": one["run_id"]}).json()
            files = {file["path"] for file in listed.get("files", [])}
            assert files == ({"report.json", "report.html"} if version["verdict"] else set())
        assert found == {}
        model = http.get(f"{api}/registered-models/get", params={"name": MODEL}).json()
        at = {one["alias"]: one["version"] for one in model["registered_model"]["aliases"]}
        numbers = {
            int(tag["value"]): one["version"]
            for one in answer.json()["model_versions"]
            for tag in one["tags"]
            if tag["key"] == "perennial.version"
        }
        assert at == {"production": numbers[live(site)]}
    return numbers


if __name__ == "__main__":
    main()
