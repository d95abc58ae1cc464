"""The home of a past release, opened by this one."""

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import SecretStr
from sqlalchemy import update

from api.server import listen
from core import bootstrap
from core.clip.machine import environment
from core.clip.model import load
from core.database.tables import jobs
from core.database.work import Work
from core.job_types.run import run_next_job
from core.platform import Platform
from core.settings import Settings
from core.values import Digest
from perennial.client import Client
from perennial.types.models import Version
from tests.support.api.served import serving
from tests.support.api.service import settings_of
from tests.support.learning.rounding import logit_error
from tests.support.servers.server_thread import in_thread
from worker.app import build_tools
from worker.inference.server import make_app, make_server

FIXTURE = Path(__file__).parent

EXPECTED: dict[str, Any] = json.loads((FIXTURE / "expected.json").read_text())

INTERRUPTED = EXPECTED["interrupted"]["job"]

MODEL = "line"


@dataclass(frozen=True)
class Home:
    """The home, migrated, with a client of the service that runs on it."""

    platform: Platform
    client: Client

    def work(self) -> None:
        """Run every job there is."""
        tools = build_tools(self.platform)
        while run_next_job(self.platform, tools, owner="w", stopping=lambda: False):
            pass

    def order_again(self, version: Version) -> Version:
        """Order the update that made a version once more; the version that it makes."""
        assert version["dataset"] is not None
        assert version["dataset_version"] is not None
        job = self.client.jobs.order_update(
            model=MODEL,
            dataset=version["dataset"],
            dataset_version=version["dataset_version"],
            parent=version["parent"],
            recipe=version["recipe"],
        )
        self.work()
        return self.made_by(job["id"])

    def made_by(self, job: str) -> Version:
        """Return the version that a job has made."""
        ended = self.client.jobs.get(job)
        assert ended["status"] == "succeeded", ended["error"]
        assert ended["result"] is not None
        return self.client.versions.get(MODEL, ended["result"]["version"])

    def movement(self, version: Version) -> dict[str, torch.Tensor]:
        """Return how far an update has moved each weight."""
        assert version["parent"] is not None
        parent = self.state(self.client.versions.get(MODEL, version["parent"]))
        return {name: value - parent[name] for name, value in self.state(version).items()}

    def state(self, version: Version) -> dict[str, torch.Tensor]:
        """Return the weights of a version, every byte verified."""
        state = load(Digest(version["digest"]), self.platform.artifacts).network.state_dict()
        return dict(state)


@contextmanager
def opened(folder: Path) -> Iterator[Home]:
    """Unpack the home into a folder, migrate it, and run API and inference on it."""
    with tarfile.open(FIXTURE / "home.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    settings = settings_of(
        folder / "home", threads=1, inference_key=SecretStr("pk_that-inference-requires")
    )
    bootstrap.migrate(settings)
    lapse_leases(settings)
    with inference(settings) as url:
        settings = settings.model_copy(update={"inference_url": url})
        with serving(settings) as served:
            yield Home(served.platform, served.client)


def lapse_leases(settings: Settings) -> None:
    """End the dead worker's lease, whatever this machine's clock shows."""
    platform = bootstrap.build(settings)
    with platform.transactions() as work:
        assert isinstance(work, Work)
        assert work._connection is not None
        work._connection.execute(update(jobs).values(lease_until=0.0).where(jobs.c.lease_until > 0))
        work.commit()
    bootstrap.close(platform)


@contextmanager
def inference(settings: Settings) -> Iterator[str]:
    """Run the inference service within the context."""
    with (
        bootstrap.opened(settings) as platform,
        listen("127.0.0.1", 0) as bound,
        in_thread(make_server(make_app(platform), settings), bound) as url,
    ):
        yield url


def assert_digest(version: Version, expected: str) -> None:
    """Check a digest, if this machine and its libraries are those that the home was made with."""
    if environment(torch.device("cpu"), threads=1) == EXPECTED["environment"]:
        assert version["digest"] == expected


def assert_same_weights(home: Home, one: Version, other: Version) -> None:
    """Check that two versions are one update's, up to the rounding of two machines.

    A gradient's elements are off by `logit_error`, as a share of the largest. Adam divides them by
    epsilon or more, and the largest by no more than clip_norm + epsilon. Processors with other
    instructions differ by a hundredth of this bound, runs that lose state by a hundred bounds.
    """
    recipe = one["recipe"] or {}
    model = load(Digest(one["digest"]), home.platform.artifacts)
    error = logit_error(model, torch.float32) * (1 + recipe["clip_norm"] / recipe["epsilon"])
    moved, again = home.movement(one), home.movement(other)
    furthest = max(float(value.abs().max()) for value in moved.values())
    assert moved.keys() == again.keys()
    for name, value in moved.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=error * furthest)
