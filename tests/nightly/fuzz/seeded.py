"""A service with one of everything, for requests that reach more than the check of a name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core import bootstrap
from core.access.keys import ensure_admin_key
from core.gate.policies import ensure_default_policy
from tests.support.api.browsing import make_line
from tests.support.api.orders import a_dataset, update
from tests.support.api.seeds import a_root
from tests.support.api.served import Served, serving
from tests.support.api.service import Service, running, settings_of


@contextmanager
def seeded(home: Path) -> Iterator[Served]:
    """Serve within the context: two models, one of two versions, a suite, datasets; no worker.

    Writes the ids of its jobs and images, which nobody can choose, to files in `home`.
    """
    unlimited = {"max_waiting_per_model": 0, "max_waiting_per_key": 0, "rate_requests": 1_000_000}
    settings = settings_of(home, **unlimited)
    bootstrap.migrate(settings)
    with running(settings) as service:
        ensure_admin_key(service.platform)
        ensure_default_policy(service.platform)
        with pytest.MonkeyPatch.context() as patch:
            make_line(service.platform, patch)
        a_root(service.platform, "spare")
        a_dataset(service, "products", boot=0, bag=3)
        _write_ids(service, home)
    with serving(settings) as served:
        yield served


def _write_ids(service: Service, home: Path) -> None:
    job = service.client.post("/v1/jobs", json=update(model="line")).json()
    images = service.client.get("/v1/datasets/products/images").json()["data"]
    (home / "jobs.txt").write_text(f'"{job["id"]}"\n')
    (home / "pixels.txt").write_text("".join(f'"{image["pixels"]}"\n' for image in images))
