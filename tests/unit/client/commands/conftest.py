"""Commands, in this process, against a whole service on SQLite with a worker in a thread."""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from pydantic import SecretStr

from core.datasets.manifests import Side
from core.datasets.thumbnail_rows import PlacedGroups
from core.gate.rules import Verdict
from core.job_types.run import run_next_job
from core.platform import Platform
from core.registry.versions import Model
from core.values import Digest
from devtools.programs import with_pgvector
from devtools.servers import FAST, postgres_server
from perennial.client import Client
from perennial.commands.main import main
from perennial.indexes.keep import Keeper
from perennial.indexes.pgvector import PgVectorStore
from perennial.indexes.sources import DatasetSource
from perennial.requests import ImageFile
from perennial.terminal.session import KEY, URL
from tests.support.api.image_files import picture, picture_sides, pictures_on
from tests.support.api.oracle import Oracle, an_oracle, settings_with
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.served import serving
from tests.support.api.service import KEY as ADMIN
from tests.support.bundles import OURS
from tests.support.learning.tiny_tools import vector
from tests.support.scene import Script
from tests.support.signatures import make_key_pair
from tests.support.tools import tools_of

MODEL = "demo"

# Suites may lose all: the root is right about none of their images, so none could show a loss.
LENIENT = {
    **dict.fromkeys(("parent_tolerance", "root_tolerance", "union_tolerance"), 1.0),
    **dict.fromkeys(("holdout_tolerance", "settled_tolerance"), 0.5),
}


@dataclass
class Learner(Script):
    """Torch's part: the root is wrong about all, and what it learns is right, or the reverse."""

    forgets: bool = False
    root: Digest | None = None

    def tenths_known(self, version: Digest) -> int:
        return 10 if (version == self.root) == self.forgets else 0


@dataclass(frozen=True, kw_only=True)
class Site:
    """A service with the model `demo`, a client of it, and what its worker will do."""

    url: str
    client: Client
    platform: Platform
    learner: Learner
    oracle: Oracle

    def told(self) -> str:
        """All that the service keeps or tells: the files of its home, audit events and jobs."""
        home = self.platform.settings.home
        kept = (path.read_text("latin-1") for path in home.rglob("*") if path.is_file())
        events, jobs = self.client.audit.events(), self.client.jobs.list()
        return "".join(kept) + json.dumps([*events, *jobs])


@dataclass(frozen=True, kw_only=True)
class Ended:
    """An ended command."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running service and a worker, which the tests of a file share."""
    with a_site(tmp_path_factory.mktemp("home"), MODEL) as made:
        yield made


@contextmanager
def a_site(home: Path, model: str) -> Iterator[Site]:
    """Run a service with a model, and a worker."""
    stopped = threading.Event()
    with ExitStack() as stack:
        oracle = stack.enter_context(an_oracle())
        settings = settings_with(oracle, home).model_copy(
            update={
                "migrate_on_start": True,
                "root_folders": (Path("/srv/models"),),
                "signing_key": SecretStr(OURS.private),
                "trusted_keys": {"lab": OURS.public},
            }
        )
        found = stack.enter_context(serving(settings))
        platform, client = found.platform, found.client
        client.policies.create("few", minimum_count=1, alpha=0.2, **LENIENT, reason="few images")
        a_root(platform, model)
        with platform.transactions() as work:
            work[PlacedGroups].add(picture_sides(300))
            work.commit()
        suite = [
            (("cat", "dog")[n % 2], ImageFile(file_name="a.png", data=picture(900 + n)))
            for n in range(30)
        ]
        client.datasets.create("pets")
        client.datasets.upload("pets", suite)
        client.datasets.freeze("pets")
        client.suites.create("pets", kind="zero_shot", dataset="pets", dataset_version=1)
        client.models.change(model, policy="few", suites=["pets"], reason="a test")
        learner = Learner(platform)
        learner.root = Digest(client.versions.get(model, 1)["digest"])
        tools = tools_of(learner, settings)
        stack.callback(tools.decoder.close)

        def work() -> None:
            messages, heard = settings.home / "broker", 0
            while not stopped.wait(0.02):
                told = len(list(messages.glob("*.msg")))  # a look for jobs takes much longer
                while told > heard and not stopped.is_set():  # else it claims what it gives back
                    if run_next_job(platform, tools, owner="w", stopping=stopped.is_set) is None:
                        heard = told

        thread = threading.Thread(target=work)
        thread.start()
        stack.callback(thread.join)
        stack.callback(stopped.set)
        yield Site(url=found.url, client=client, platform=platform, learner=learner, oracle=oracle)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The address of an empty database with pgvector, which the service knows nothing of."""
    with postgres_server(FAST, programs=with_pgvector()) as server:
        yield server.url.format(name="postgres").replace("+psycopg", "")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command of somebody who is not logged in."""
    for name in (URL, KEY, "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def ended(*words: object) -> Ended:
        code = main([str(word) for word in words])
        return Ended(code=code, **capsys.readouterr()._asdict())

    return ended


def boots_and_bags() -> list[tuple[str, ImageFile]]:
    """Images of two classes, of which six are learned and 16 held out."""
    return [
        (("boot", "bag")[n % 2], ImageFile(file_name=f"{n}.png", data=data))
        for side, count in ((Side.TRAIN, 6), (Side.HOLDOUT, 16))
        for n, data in enumerate(pictures_on(side, count))
    ]


def teach(site: Site, dataset: str, **order: Any) -> int:
    """Teach the model boots and bags; the version's number."""
    site.client.datasets.create(dataset)
    site.client.datasets.upload(dataset, boots_and_bags())
    ordered = site.client.jobs.order_update(model=MODEL, dataset=dataset, **order)
    done = site.client.jobs.wait(ordered["id"], every=0.05)
    return int(done["result"]["version"])


@pytest.fixture
def perennial(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command of an admin."""
    monkeypatch.setenv(URL, site.url)
    monkeypatch.setenv(KEY, ADMIN)
    return run


@pytest.fixture(scope="session")
def key_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The files of a private and a public key."""
    return make_key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of images, some of which will be held out."""
    folder = tmp_path_factory.mktemp("images") / "new"
    for side, count in ((Side.TRAIN, 6), (Side.HOLDOUT, 16)):
        for n, data in enumerate(pictures_on(side, count)):
            place = folder / ("boot", "bag")[n % 2]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{side}-{n}.png").write_bytes(data)
    return folder


def rows(printed: str, cells: int) -> list[list[str]]:
    """The first cells of the lines of tables."""
    lines = (line for line in printed.splitlines() if line.startswith("│"))
    return [[cell.strip() for cell in line.strip("│").split("│")][:cells] for line in lines]


_numbers = itertools.count(1)


@dataclass(kw_only=True)
class Shop:
    """A model of its own with a dataset, and an index of its images."""

    site: Site
    model: Model
    name: str
    address: str
    folder: Path

    @property
    def client(self) -> Any:
        return self.site.client

    def upload(self, *numbers: int) -> None:
        """Put pictures into the dataset, and freeze it."""
        images = [("cat", ImageFile(file_name="a.png", data=picture(n))) for n in numbers]
        self.client.datasets.upload(self.name, images)
        self.client.datasets.freeze(self.name)

    def child(self, verdict: Verdict = Verdict.PASSED) -> int:
        """Teach the live version: unless said otherwise, the child has passed the gate."""
        live = self.client.aliases.get(self.model.name)["version"]
        made = a_candidate(self.site.platform, self.model, verdict=verdict, parent=live)
        return made.number

    def teach(self) -> Any:
        """Order an update that passes the gate, and wait for it: what came of its promotion."""
        self.client.models.change(self.name, policy="few", suites=["pets"], reason="a test")
        self.site.learner.root = Digest(self.digest(1))
        taught = f"{self.name}-taught"
        self.client.datasets.create(taught)
        self.client.datasets.upload(taught, boots_and_bags())
        job = self.client.jobs.order_update(model=self.name, dataset=taught)
        return self.client.jobs.wait(job["id"], every=0.05)["result"]["promotion"]

    @contextmanager
    def store(self) -> Iterator[PgVectorStore]:
        store = PgVectorStore(self.address, self.name)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def keeper(self, wrapped: Callable[[Any], Any] = lambda one: one) -> Iterator[Keeper]:
        with self.store() as store:
            source = DatasetSource(
                self.client, self.model.name, self.name, self.folder, lambda _: None
            )
            yield Keeper(
                wrapped(self.client),
                wrapped(store),
                wrapped(source),
                model=self.model.name,
                index=self.name,
            )

    def digest(self, version: int) -> str:
        return self.client.versions.get(self.model.name, version)["digest"]

    def expected(self, version: int) -> dict[str, Any]:
        """The vectors that a worker makes of the newest images by a version."""
        newest = list(self.client.datasets.versions(self.name))[-1]["number"]
        images = self.client.datasets.frozen_images(self.name, newest)
        digest = self.digest(version)
        return {
            one["pixels"]: np.frombuffer(vector(digest, one["pixels"]), "<f4") for one in images
        }

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.address, autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    def sql_do(self, statement: str) -> None:
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(statement)

    def seen(self) -> tuple[int, str, dict[str, Any]]:
        """The rows of the view: one version, its digest and its vectors."""
        found = self.sql(f'SELECT id, version, digest, vector::text FROM "{self.name}"')
        ((version, digest),) = {(row[1], row[2]) for row in found}
        vectors = {row[0]: np.array(json.loads(row[3]), "f") for row in found}
        assert len(vectors) == len(found), "twice"
        return version, digest, vectors

    def require_true(self, version: int) -> None:
        """The view has all vectors of a version, once, and nothing else."""
        found, digest, vectors = self.seen()
        assert (found, digest) == (version, self.digest(version))
        expected = self.expected(version)
        assert vectors.keys() == expected.keys()
        for name, one in expected.items():
            np.testing.assert_allclose(vectors[name], one, rtol=1e-6)


@pytest.fixture
def shop(site: Site, address: str, tmp_path: Path) -> Shop:
    """An index of six images without vectors."""
    name = f"shop{next(_numbers)}"
    made = Shop(
        site=site,
        model=a_root(site.platform, name),
        name=name,
        address=address,
        folder=tmp_path,
    )
    site.client.datasets.create(name)
    made.upload(*range(6))
    site.client.indexes.create(name, name, store="pgvector", dataset=name)
    return made
