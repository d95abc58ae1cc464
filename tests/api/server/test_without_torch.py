"""The API in an environment that holds no tensor package, as in its container image."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.datasets.manifests import Side
from devtools.ports import free_port
from tests.support.api.image_files import pictures_on
from tests.support.processes import Site, wait_for

ABSENT = ("torch", "torchvision", "open_clip", "timm", "safetensors")

KEY = "pk_a-key-that-only-tests-know-of"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A home whose database has its tables."""
    site = Site(tmp_path / "home", embedded=False, port=free_port())
    yield site
    site.close()


@pytest.fixture
def without_torch(tmp_path: Path) -> str:
    """A folder that hides the tensor packages from whoever has it on its path."""
    for name in ABSENT:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not installed')")
    return str(tmp_path)


def test_a_model_an_upload_and_a_job_need_no_torch(site: Site, without_torch: str) -> None:
    settings = {"PYTHONPATH": without_torch, "PERENNIAL_ADMIN_KEY": KEY}
    site.start("cli", "serve", **settings)
    at = f"http://127.0.0.1:{site.settings.port}"
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=at, headers=headers, trust_env=False) as client:
        wait_for(lambda: answers(client), seconds=60)
        assert client.post("/v1/models", json={"name": "demo", "base": "bundled"}).is_success
        images = pictures_on(Side.TRAIN, 4)
        files = [(("owl", "elk")[n % 2], (f"{n}.png", image)) for n, image in enumerate(images)]
        job = client.post("/v1/models/demo/classes", files=files)
        assert job.status_code == 202, job.text


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").is_success
    except httpx.TransportError:
        return False
