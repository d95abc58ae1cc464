"""One site for all tests here: starting a worker takes seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.domain.values import Digest
from tests.faults import line
from tests.faults.worker import Worker
from tests.processes import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A model on a minuscule CLIP with a dataset version to teach it; nothing runs yet."""
    home: Path = tmp_path_factory.mktemp("home")
    site = Site(home, root_folders=(home,), checkpoint_seconds=0.2, sweep_seconds=0.5)
    line.begin(site.platform, line.write_base(home / "base"))
    try:
        yield site
    finally:
        site.close()


@pytest.fixture(scope="module")
def undisturbed(site: Site) -> Digest:
    """The digest of the update when nothing happens to it."""
    job = line.order(site.platform)
    line.run_here(site.platform)
    return line.digest_of(site.platform, job)


@pytest.fixture(scope="module")
def worker(site: Site, undisturbed: Digest) -> Worker:
    """Started after the undisturbed run, so that it takes no job from it."""
    return Worker(site)
