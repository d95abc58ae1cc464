"""A back-up holds all that is needed, and fills any other service with it."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, make_url, select

from core import backup as backups
from core.adapters.artifacts.local import LocalArtifacts
from core.adapters.artifacts.s3 import S3Artifacts
from core.adapters.backups.folder import BackupFolder
from core.adapters.database.engine import open_engine
from core.adapters.database.migrate import METADATA, migrate
from core.adapters.database.storage.dump import LEFT_OUT, Snapshot, _pack, _to_json_value
from core.adapters.database.storage.load import fill
from core.adapters.database.tables.schema import reflect
from core.backup import back_up, restore
from core.bootstrap import build, close
from core.domain.datasets.split import Side
from core.domain.jobs.job import JobStatus
from core.domain.registry.version import Weights
from core.domain.values import Digest, sha256
from core.errors import Conflict, Corrupt, FieldInvalid, NotFound, StorageFull
from core.ports import Artifacts, Platform
from core.settings import Settings
from core.use_cases.access.verify_audit import verify_audit
from core.use_cases.registry.promote import promote
from core.use_cases.registry.roll_back import roll_back
from devtools.servers.postgres import run_sql
from tests.support.factories import (
    NOW,
    TESTER,
    a_job,
    a_job_of_no_model,
    a_key,
    an_image,
    digest,
    pixels_on,
)
from tests.support.old_rows.rows import revisions, write_rows
from tests.support.scene import Scene
from tests.support.webhooks import subscribed


@contextmanager
def opened(settings: Settings) -> Iterator[Platform]:
    platform = build(settings)
    try:
        yield platform
    finally:
        close(platform)


class Databases:
    """Makes databases of both kinds, and copies of a service that has lived a little."""

    def __init__(self, folder: Path, server: Callable[[], str]) -> None:
        self._folder = folder
        self._server = server  # PostgreSQL's, started when it is needed
        self._numbers = itertools.count(1)
        self._lived: dict[str, Settings] = {}

    def fresh(self, kind: str) -> str:
        """The URL of an empty database."""
        name = f"backup{next(self._numbers)}"
        if kind == "sqlite":
            return f"sqlite:///{self._folder / name}.db"
        run_sql(self._server(), "postgres", f"CREATE DATABASE {name}")
        return self._server().format(name=name)

    def lived(self, kind: str, home: Path) -> Settings:
        """A service with a bit of everything, that nobody has open."""
        if kind not in self._lived:
            first = Settings(home=self._folder / kind, database_url=self.fresh(kind))
            migrate(first.database)
            with opened(first) as platform:
                live_through(platform)
            self._lived[kind] = first
        first = self._lived[kind]
        shutil.copytree(first.home, home)
        return Settings(home=home, database_url=self._copy(first.database, kind))

    def _copy(self, url: str, kind: str) -> str:
        copy = self.fresh("sqlite")
        if kind == "sqlite":
            shutil.copy(url.removeprefix("sqlite:///"), copy.removeprefix("sqlite:///"))
            return copy
        name = f"backup{next(self._numbers)}"
        template = make_url(url).database
        run_sql(self._server(), "postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._server().format(name=name)


@pytest.fixture(scope="session")
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    folder = tmp_path_factory.mktemp("databases")
    return Databases(folder, lambda: str(request.getfixturevalue("server")))


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The database that is backed up: SQLite, unless a test says that it matters."""
    return str(getattr(request, "param", "sqlite"))


BOTH = pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def settings(databases: Databases, kind: str, tmp_path: Path) -> Settings:
    """The service that is backed up."""
    return databases.lived(kind, tmp_path / "home")


@pytest.fixture
def elsewhere(tmp_path: Path, databases: Databases) -> Settings:
    """Where it is restored."""
    return Settings(home=tmp_path / "elsewhere", database_url=databases.fresh("sqlite"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def live_through(platform: Platform) -> Scene:
    """A bit of everything: suites, updates, verdicts, aliases that move, jobs of all kinds."""
    scene = Scene(platform.transactions, platform.artifacts)
    subscribed(platform.transactions)
    model = scene.model()
    scene.suite(model, scene.frozen("hat", "bag", offset=10, each=1))
    for offset in (0, 4):
        scene.update(model, scene.frozen("cat", "dog", offset=offset, each=1))
        assert scene.run().status is JobStatus.SUCCEEDED
    asked = {"model": model.name, "alias": "production", "expected_revision": None}
    promote(platform, TESTER, version=2, reason="a step back:\u2028é", override=True, **asked)
    roll_back(platform, TESTER, to=None, reason="for this test", **asked)
    waiting = scene.update(model, scene.frozen("owl", "elk", offset=6, each=1))
    with platform.transactions() as work:
        held = work.jobs.claim("w", 60, 3)
        assert held is not None
        work.jobs.set_checkpoint(waiting.id, held.fence, platform.artifacts.put(b"half an update"))
        work.jobs.add(a_job(model, retry_of=waiting.id).fail({"code": "x", "at": 0.1}, NOW))
        work.jobs.add(a_job_of_no_model("dataset:ds_1"))
        work.heartbeats.record("w", {})
        work.keys.add(a_key(created_at=NOW + timedelta(microseconds=1)), digest("key"))
        work.counters.add("jobs", {"type": "update"}, 0.1)
        work.commit()
    for pixels in {*pixels_on(Side.TRAIN, 20), *pixels_on(Side.HOLDOUT, 20)}:
        if an_image(pixels).artifact in images_of(platform):
            platform.artifacts.put(f"artifact of {pixels}".encode())
    return scene


def images_of(platform: Platform) -> set[Digest]:
    with platform.transactions(read_only=True) as work:
        return work.references.images()


def rows_of(url: str) -> dict[str, list[dict[str, Any]]]:
    """All rows that a back-up has to bring back."""
    engine = open_engine(url)
    with engine.connect() as connection:
        found = {
            table.name: connection.execute(select(table).order_by(*table.primary_key)).mappings()
            for table in METADATA.sorted_tables
            if table.name not in LEFT_OUT
        }
        rows = {name: [dict(row) for row in result] for name, result in found.items()}
    engine.dispose()
    return rows


def bytes_of(artifacts: Artifacts) -> dict[Digest, bytes]:
    return {name: artifacts.get(name) for name in artifacts.digests()}


def file_of(settings: Settings, name: Digest) -> Path:
    return settings.artifacts / name[:2] / name[2:]


def lost_of(outcome: backups.Outcome) -> tuple[set[Digest], set[Digest]]:
    return outcome.artifacts.damaged, outcome.artifacts.missing


# ---- There and back -------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_rows_and_bytes_come_back_in_either_kind_of_database(
    settings: Settings, elsewhere: Settings, folder: Path, databases: Databases, target: str
) -> None:
    before = bytes_of(LocalArtifacts(settings.artifacts))
    done = back_up(settings, folder)
    assert lost_of(done) == (set(), set())
    other = elsewhere.model_copy(update={"database_url": databases.fresh(target)})
    back = restore(other, folder)
    rows = rows_of(settings.database)
    assert all(rows[name] for name in ("jobs", "versions", "alias_moves", "answers", "suites"))
    assert all(rows[name] for name in ("webhook_deliveries", "audit_events"))
    assert rows_of(other.database) == rows
    assert back.rows == done.rows == sum(map(len, rows.values()))
    with opened(other) as platform:
        assert bytes_of(platform.artifacts) == before
        scene = Scene(platform.transactions, platform.artifacts)
        with platform.transactions() as work:
            model = work.models.get("demo")
            (job,) = work.jobs.page(9, None, status=JobStatus.RUNNING)
            work.jobs.release(job.id, job.fence)
            work.commit()
        assert scene.run().version == 4  # the job goes on
        newest = scene.order(model, job.order)
        with platform.transactions(read_only=True) as work:
            assert work.jobs.page(1, None)[0].id == newest.id
            (webhook,) = work.webhooks.page(9, None)
            assert job.id in {one.object for one in work.outbox.page(webhook.id, 9, None)}
        assert verify_audit(platform).broken_at is None


@BOTH
def test_bytes_go_from_a_folder_to_s3_and_back(
    settings: Settings,
    kind: str,
    folder: Path,
    tmp_path: Path,
    databases: Databases,
    s3: S3Artifacts,
) -> None:
    place = s3._place
    address = {
        "artifacts_url": f"s3://{place.bucket}/{place.prefix}",
        "s3_endpoint": place.endpoint or "",
        "s3_region": place.region or "",
    }
    before = bytes_of(LocalArtifacts(settings.artifacts))
    back_up(settings, folder)
    on_s3 = Settings(home=tmp_path / "s3", database_url=databases.fresh(kind), **address)
    restore(on_s3, folder)
    assert bytes_of(s3) == before
    back_up(on_s3, tmp_path / "from s3")
    third = Settings(home=tmp_path / "third", database_url=databases.fresh("sqlite"))
    assert lost_of(restore(third, tmp_path / "from s3")) == (set(), set())
    assert bytes_of(LocalArtifacts(third.artifacts)) == before
    assert rows_of(third.database) == rows_of(settings.database)


@pytest.mark.parametrize("revision", revisions())
def test_rows_of_an_older_release_are_restored_and_brought_up(
    elsewhere: Settings, empty_url: str, tmp_path: Path, revision: str
) -> None:
    """What a release wrote is read by all later ones."""
    migrate(empty_url, revision)
    engine = open_engine(empty_url)
    with engine.begin() as connection:
        write_rows(connection, revision)
    store = LocalArtifacts(tmp_path / "rows")
    with engine.connect() as connection:
        listed = dump_of_old(connection, store, revision)
    engine.dispose()
    fill(elsewhere.database, listed, store.get)
    migrate(empty_url)
    assert rows_of(elsewhere.database) == rows_of(empty_url)


def dump_of_old(connection: Connection, store: Artifacts, revision: str) -> dict[str, Any]:
    """As that release's own `dump` would have spelled it."""
    tables = reflect(connection)
    listed = {}
    for table in tables.sorted_tables:
        if table.name not in {*LEFT_OUT, "alembic_version"}:
            rows = [dict(row) for row in connection.execute(select(table)).mappings()]
            for row in rows:
                for name, value in row.items():
                    if isinstance(value, datetime) and value.tzinfo is None:
                        row[name] = value.replace(tzinfo=UTC)
            plain = _to_json_value
            told = [{name: plain(value) for name, value in row.items()} for row in rows]
            listed[table.name] = {"rows": len(rows), "parts": [store.put(_pack(told))]}
    return {"revision": revision, "tables": listed}


# ---- Again, and beside others ---------------------------------------------------------------


def test_the_second_time_only_what_is_new_is_copied(settings: Settings, folder: Path) -> None:
    with opened(settings) as platform:
        scene = Scene(platform.transactions, platform.artifacts)
        first = back_up(settings, folder)
        second = back_up(settings, folder)
        assert (second.artifacts.copied, len(second.artifacts.kept)) == (
            {},
            len(first.artifacts.copied),
        )
        report = platform.artifacts.put(b"new")
        with platform.transactions() as work:
            model = work.models.get("demo")
            work.versions.save(replace(scene.version(model, 3), report=report))
            work.commit()
    third = back_up(settings, folder)
    assert third.artifacts.copied == {report: 3}
    parts = set(LocalArtifacts(folder / "rows").digests())
    assert len(parts) == len(METADATA.tables) - len(LEFT_OUT) - empty_tables(settings) + 1


def empty_tables(settings: Settings) -> int:
    return sum(not rows for rows in rows_of(settings.database).values())


def test_what_no_row_needs_stays_behind(settings: Settings, folder: Path) -> None:
    with opened(settings) as platform:
        orphan = platform.artifacts.put(b"orphan")
    back_up(settings, folder)
    assert not LocalArtifacts(folder / "artifacts").has(orphan)


@BOTH
def test_rows_are_of_one_moment_and_what_they_name_is_whole(
    settings: Settings, folder: Path, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version is made and an old one collected between the rows and the bytes."""
    with opened(settings) as platform:
        happened = []
        real = Snapshot.dump

        def dump(self: Snapshot, put: Callable[[bytes], Digest]) -> Any:
            listed = real(self, put)
            if not happened:
                happened.append(give_up(platform, 2))
            return listed

        monkeypatch.setattr(Snapshot, "dump", dump)
        assert lost_of(back_up(settings, folder)) == (set(), set())
    restore(elsewhere, folder)
    with opened(elsewhere) as platform, platform.transactions(read_only=True) as work:
        version = work.versions.get(work.models.get("demo").id, 2)
        assert version.collected_at is not None


def give_up(platform: Platform, number: int) -> Digest:
    """What a collection does to a version."""
    with platform.transactions() as work:
        model = work.models.get("demo")
        version = work.versions.get(model.id, number)
        work.versions.release_weights(model.id, number, NOW)
        work.commit()
    for tensor in Weights.from_bytes(platform.artifacts.get(version.digest)).tensors:
        platform.artifacts.delete(tensor.digest)
    platform.artifacts.delete(version.digest)
    return version.digest


def test_a_checkpoint_that_is_gone_is_no_loss(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    with opened(settings) as platform:
        platform.artifacts.delete(sha256(b"half an update"))
    assert lost_of(back_up(settings, folder)) == (set(), set())
    assert lost_of(restore(elsewhere, folder)) == (set(), set())


def test_two_back_ups_into_one_folder_do_not_meet(settings: Settings, folder: Path) -> None:
    with BackupFolder(folder).written(), pytest.raises(Conflict):
        back_up(settings, folder)
    back_up(settings, folder)
    with BackupFolder(folder).written(), pytest.raises(Conflict):
        restore(settings, folder)


# ---- Damage ---------------------------------------------------------------------------------


def test_what_is_damaged_or_missing_is_told_and_the_rest_is_copied(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    with opened(settings) as platform:
        with platform.transactions(read_only=True) as work:
            root, *_ = sorted(work.references.weights())
            report = sorted(work.references.reports())[0]
        tensor = Weights.from_bytes(platform.artifacts.get(root)).tensors[0].digest
        file_of(settings, tensor).write_bytes(b"other")
        file_of(settings, report).unlink()
        all_but_two = bytes_of_whole(platform.artifacts, {tensor, report})
    for _ in range(2):
        assert lost_of(back_up(settings, folder)) == ({tensor}, {report})
    assert bytes_of(LocalArtifacts(folder / "artifacts")) == all_but_two
    assert lost_of(restore(elsewhere, folder)) == (set(), {tensor, report})
    assert rows_of(elsewhere.database) == rows_of(settings.database)


def test_feature_statistics_are_backed_up_and_missing_ones_are_told(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    with opened(settings) as platform, platform.transactions(read_only=True) as work:
        gone, *others = work.references.feature_statistics()
    file_of(settings, gone).unlink()
    assert lost_of(back_up(settings, folder)) == (set(), {gone})
    assert lost_of(restore(elsewhere, folder)) == (set(), {gone})
    with opened(elsewhere) as platform, platform.transactions(read_only=True) as work:
        assert work.references.feature_statistics() == {gone, *others}
        assert others
        assert all(map(platform.artifacts.has, others))


def bytes_of_whole(artifacts: Artifacts, but: set[Digest]) -> dict[Digest, bytes]:
    return {name: artifacts.get(name) for name in artifacts.digests() if name not in but}


def test_a_damaged_list_is_told(settings: Settings, folder: Path) -> None:
    with opened(settings) as platform, platform.transactions(read_only=True) as work:
        manifest, *_ = work.references.manifests()
    file_of(settings, manifest).write_bytes(b"{}")
    assert lost_of(back_up(settings, folder)) == ({manifest}, set())


def test_damage_in_the_folder_is_told_and_healed_by_the_next_back_up(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    with opened(settings) as platform, platform.transactions(read_only=True) as work:
        report = sorted(work.references.reports())[0]
    back_up(settings, folder)
    copies = Settings(home=folder)
    flip(file_of(copies, report))
    assert lost_of(restore(elsewhere, folder)) == ({report}, set())
    assert report in back_up(settings, folder).artifacts.copied
    back = restore(elsewhere, folder, artifacts_only=True)
    assert (back.rows, set(back.artifacts.copied), back.artifacts.lost) == (0, {report}, set())


def test_a_flipped_bit_in_rows_or_lists_stops_a_restore(
    settings: Settings, folder: Path, elsewhere: Settings
) -> None:
    back_up(settings, folder)
    for path in (folder / "rows").rglob("*"):
        if path.is_file():
            flip(path)
            with pytest.raises(Corrupt):
                restore(elsewhere, folder)
            flip(path)
    (folder / "backup.json").write_text("{")
    with pytest.raises(Corrupt):
        restore(elsewhere, folder)
    assert not elsewhere.artifacts.exists()
    assert not Path(elsewhere.database.removeprefix("sqlite:///")).exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_a_back_up_that_breaks_off_leaves_the_one_before(
    settings: Settings, folder: Path, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(settings) as platform:
        scene = Scene(platform.transactions, platform.artifacts)
        back_up(settings, folder)
        before = rows_of(settings.database)
        scene.order(scene.model("another"), a_job(scene.model("third")).order)

    def full(*_: object) -> None:
        raise StorageFull

    with monkeypatch.context() as patch:
        patch.setattr(BackupFolder, "_point_to", full)
        with pytest.raises(StorageFull):
            back_up(settings, folder)
    restore(elsewhere, folder)
    assert rows_of(elsewhere.database) == before


# ---- Refusals -------------------------------------------------------------------------------


@BOTH
def test_a_database_with_rows_is_left_alone(settings: Settings, folder: Path) -> None:
    back_up(settings, folder)
    before = rows_of(settings.database)
    with pytest.raises(Conflict, match="already has"):
        restore(settings, folder)
    assert rows_of(settings.database) == before


def test_a_database_that_is_used_meanwhile_is_left_alone(
    settings: Settings, elsewhere: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(settings, folder)
    real = backups.copy_artifacts

    def copy(*given: Any) -> None:
        real(*given)
        migrate(elsewhere.database)
        with opened(elsewhere) as platform:
            Scene(platform.transactions, platform.artifacts)  # adds the default policy

    monkeypatch.setattr(backups, "copy_artifacts", copy)
    with pytest.raises(Conflict, match="already has audit_events"):
        restore(elsewhere, folder)
    assert rows_of(elsewhere.database)["jobs"] == []


def test_a_back_up_of_a_newer_release_is_refused(
    settings: Settings, elsewhere: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        real = Snapshot.dump
        patch.setattr(Snapshot, "dump", lambda self, put: {**real(self, put), "revision": "f" * 12})
        back_up(settings, folder)
    with pytest.raises(Conflict, match="which this release does not have"):
        restore(elsewhere, folder)
    assert not elsewhere.artifacts.exists()


def test_a_database_of_another_release_is_not_backed_up(
    empty_url: str, folder: Path, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home", database_url=empty_url)
    for revision, fault in ((None, NotFound), (revisions()[0], Conflict)):
        if revision:
            migrate(empty_url, revision)
        with pytest.raises(fault):
            back_up(settings, folder)
    assert not folder.exists()


def test_folders_that_are_no_back_up_are_told(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(NotFound):
            restore(elsewhere, tmp_path / name)
    with pytest.raises(FieldInvalid):
        back_up(settings, settings.home)
