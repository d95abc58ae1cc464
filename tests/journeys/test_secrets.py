"""The embedded service as others on its machine see it: no secret, and no port without a key."""

import sys
from collections.abc import Iterator
from functools import partial

import httpx
import psutil
import pytest
from pydantic import SecretStr

from core.clip.model import publish
from core.gate.rows import Policies
from core.jobs.rows import Jobs
from core.registry.rows import Models, Versions
from devtools.ports import free_port
from perennial.client import Client
from perennial.requests import ImageFile
from tests.support.api.image_files import picture
from tests.support.factories import a_job, a_model, a_policy, a_version
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.processes import Site, wait_for

KEY = "pk_only-this-journey-knows-of-it"

LATE_S = 300  # two processes load torch, and the machine may be busy


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service with a version of a minuscule model, whose inference process answers."""
    home = tmp_path_factory.mktemp("secrets")
    ports = {"port": free_port(), "inference_port": free_port()}
    site = Site(home, admin_key=SecretStr(KEY), **ports)
    clip = tiny_clip(1)
    state = clip.network.state_dict()
    weights = publish(clip.config, state, site.platform.artifacts, lambda done, total: None)
    with site.platform.transactions() as work:
        policy = a_policy()
        model = a_model(policy, name="tiny")
        job = a_job(model)
        work[Policies].add(policy)
        work[Models].add(model)
        work[Jobs].add(job)
        work[Versions].add(a_version(job, 1, digest=weights.digest))
        work.commit()
    service = site.start("cli", "serve")
    try:
        wait_for(lambda: service.poll() is not None or is_healthy(site), seconds=LATE_S, every=0.3)
        yield site
    finally:
        print(site.log)
        site.close()


def is_healthy(site: Site) -> bool:
    try:
        return httpx.get(f"{site.settings.inference}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_inference_answers_the_api_and_nobody_else(site: Site) -> None:
    url = f"http://127.0.0.1:{site.settings.port}"
    with Client(url, KEY, timeout=LATE_S, trust_env=False) as client:
        image = ImageFile(file_name="a.png", data=picture(1))
        (answer,) = client.classify("tiny:1", [image], ["boot", "bag"])["data"]
    assert len(answer["predictions"]) == 2

    for headers in ({}, {"Authorization": f"Bearer {KEY}"}):
        url = f"{site.settings.inference}/classify"
        assert httpx.post(url, headers=headers, trust_env=False).status_code == 401


def test_no_process_shows_a_key(site: Site) -> None:
    found = site.processes()
    assert len(found) >= 3  # the API, the supervisor, inference
    for process in found:
        assert "pk_" not in " ".join(process.cmdline())
        # A process that is just starting shows what it was given for a moment.
        wait_for(partial(hides, process), seconds=LATE_S)


def hides(process: psutil.Process) -> bool:
    return "pk_" not in str(process.environ()) or sys.platform != "linux"
