"""Models in a real MLflow registry, which keeps itself in SQLite: no server is needed."""

from __future__ import annotations

import base64
import json
import logging
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from devtools.ports import free_port
from perennial.commands import mlflow as commands
from perennial.resources.models import Versions
from perennial.terminal.session import ERROR, INTERRUPTED, KEY, USAGE
from tests.support.api.oracle import vector_of
from tests.support.places import ROOT
from tests.support.servers.receiver import Receiver
from tests.unit.client.commands.conftest import MODEL, Run, Site, teach

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("default")  # MLflow warns of its own libraries

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ALIAS = "champion"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty registry."""
    home = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)  # where MLflow puts artifacts
        yield f"sqlite:///{home}/mlflow.db"


@pytest.fixture(scope="module")
def registry(uri: str) -> MlflowClient:
    from mlflow import MlflowClient  # half a second, if every process loads it

    return MlflowClient(uri, uri)


@pytest.fixture(scope="module")
def taught(site: Site) -> Site:
    """Version 2 has passed and is live; version 3 has failed."""
    for name, forgets in (("good", False), ("bad", True)):
        site.learner.forgets = forgets
        teach(site, name, auto_promote=not forgets)
    return site


@pytest.fixture
def run_mlflow(perennial: Run, uri: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command that knows the registry by MLflow's own variable."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return lambda *words: perennial("mlflow", *words)


def told(run: Run, *words: str) -> Any:
    """The last line of JSON that a command prints."""
    ended = run(*words, "--json")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    return json.loads(lines[-1]) if lines else None


def meanwhile(monkeypatch: pytest.MonkeyPatch, *acts: Callable[[], object]) -> None:
    """Do something between two looks of a command, each time the next; then press Ctrl-C."""
    left = list(acts)

    def sleep(_: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    monkeypatch.setattr(commands, "time", SimpleNamespace(sleep=sleep))


def number(registry: MlflowClient, version: int) -> str:
    """MLflow's number of a version."""
    (found,) = registry.search_model_versions(
        f"name = '{MODEL}' and tags.`perennial.version` = '{version}'"
    )
    return str(found.version)


def at(registry: MlflowClient, alias: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        return str(registry.get_model_version_by_alias(MODEL, alias).version)
    except MlflowException:
        return None


def test_versions_reports_and_aliases_are_mirrored_once(
    taught: Site, registry: MlflowClient, run_mlflow: Run
) -> None:
    assert told(run_mlflow, "mirror", MODEL) == {
        "versions": 3,
        "reports": 2,
        "models": 0,
        "aliases": 1,
    }
    assert told(run_mlflow, "mirror", MODEL) == {
        "versions": 0,
        "reports": 0,
        "models": 0,
        "aliases": 0,
    }
    for version in taught.client.versions.list(MODEL):
        found = registry.get_model_version(MODEL, number(registry, version["version"]))
        assert found.tags["perennial.digest"] == version["digest"]
        assert found.tags["perennial.verdict"] == (version["verdict"] or "none")
        files = {file.path for file in registry.list_artifacts(found.run_id)}
        assert files == ({"report.json", "report.html"} if version["verdict"] else set())
    assert at(registry, "production") == number(registry, 2)


def test_versions_that_may_go_live_are_made_loadable_once_and_others_not(
    taught: Site, registry: MlflowClient, run_mlflow: Run, tmp_path: Path
) -> None:
    """The root is not live any more, and has no classes; version 3 has failed."""
    told(run_mlflow, "mirror", MODEL)
    assert told(run_mlflow, "mirror", MODEL, "--loadable")["models"] == 1
    assert told(run_mlflow, "mirror", MODEL, "--loadable")["models"] == 0
    found = registry.get_model_version(MODEL, number(registry, 2))
    folder = Path(registry.download_artifacts(found.run_id, "", str(tmp_path)))
    described = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["python_function"]
    assert (folder / described["data"] / "image.onnx").read_text().startswith("image.onnx of ")
    assert not (folder / described["data"] / "text.onnx").exists()
    known = json.loads((folder / described["data"] / "classes.json").read_bytes())
    vectors = [vector_of(f"a photo of a {name}.".encode()) for name in known["classes"]]
    assert known["classes"] == taught.client.versions.get(MODEL, 2)["classes"]
    assert known["digest"] == taught.client.versions.get(MODEL, 2)["digest"]
    assert [base64.b64decode(one) for one in known["vectors"]] == vectors
    code = folder / described["code"] / described["loader_module"].replace(".", "/")
    modules = [*code.parent.rglob("*.py")]
    assert code.with_suffix(".py") in modules
    assert not [
        path
        for path in modules
        if re.search(r"^(from|import) (perennial|core)\b", path.read_text(), re.M)
    ]


def test_a_version_that_cannot_be_exported_is_told_once_and_the_others_are_mirrored(
    taught: Site, registry: MlflowClient, run_mlflow: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(run_mlflow, "mirror", MODEL, "--loadable")
    monkeypatch.setattr(taught.learner, "cosine", 0.5)

    def lose() -> None:
        registry.delete_model_version_tag(MODEL, number(registry, 2), "perennial.files")
        registry.delete_registered_model_alias(MODEL, "production")
        taught.client.exports.delete(MODEL, 2, "onnx")

    meanwhile(
        monkeypatch,
        lose,
        lambda: registry.delete_registered_model_alias(MODEL, "production"),
    )
    ended = run_mlflow("mirror", MODEL, "--loadable", "--every", "0.1", "--json")
    assert ended.err.count("export_differs") == 1
    assert [json.loads(line)["aliases"] for line in ended.out.splitlines()] == [0, 1]
    viewer = taught.client.keys.create("looker", "viewer", models=[MODEL])["secret"]
    for key, told_why in ((None, "export_differs"), (viewer, "contributor")):
        if key is not None:
            monkeypatch.setenv(KEY, key)  # which may order no export
        registry.delete_registered_model_alias(MODEL, "production")
        ended = run_mlflow("mirror", MODEL, "--loadable")
        assert (ended.code != 0, told_why in ended.err) == (True, True), ended.err
        assert at(registry, "production") == number(registry, 2)


def test_a_mirror_follows_and_goes_on_after_an_error(
    taught: Site, registry: MlflowClient, run_mlflow: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(run_mlflow, "mirror", MODEL)

    def disown() -> None:
        registry.set_registered_model_tag(MODEL, "perennial.model", "another")

    def own() -> None:
        registry.set_registered_model_tag(MODEL, "perennial.model", MODEL)
        registry.delete_model_version(MODEL, number(registry, 1))
        taught.client.aliases.promote(MODEL, 2, alias="staging", expected_revision=0)

    meanwhile(
        monkeypatch,
        disown,
        own,
        lambda: taught.client.aliases.delete(MODEL, "staging", reason="a test"),
    )
    ended = run_mlflow("mirror", MODEL, "--every", "0.1", "--json")
    assert ended.code == INTERRUPTED, ended.err
    assert "is no mirror of demo: choose another name with --name.; it looks again" in ended.err
    assert [json.loads(line) for line in ended.out.splitlines()] == [
        {"versions": 0, "reports": 0, "models": 0, "aliases": 0},
        {"versions": 1, "reports": 0, "models": 0, "aliases": 1},
        {"versions": 0, "reports": 0, "models": 0, "aliases": 1},
    ]
    assert at(registry, "staging") is None


def test_an_alias_is_not_moved_to_a_version_that_is_deleted_meanwhile(
    taught: Site, registry: MlflowClient, run_mlflow: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(run_mlflow, "mirror", MODEL)
    listed = Versions.list
    monkeypatch.setattr(
        Versions, "list", lambda *args: (one for one in listed(*args) if one["version"] != 2)
    )
    registry.delete_model_version(MODEL, number(registry, 2))
    assert told(run_mlflow, "mirror", MODEL) == {
        "versions": 0,
        "reports": 0,
        "models": 0,
        "aliases": 0,
    }
    monkeypatch.undo()


def test_a_bad_move_is_undone_and_told_by_a_signed_message(
    taught: Site,
    registry: MlflowClient,
    run_mlflow: Run,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told(run_mlflow, "mirror", MODEL)
    bad, good = number(registry, 3), number(registry, 2)
    made = registry.create_model_version(
        MODEL, source="/tmp/weights", tags={"perennial.version": "two"}
    )
    foreign = str(made.version)
    guard = ("guard", MODEL, "--alias", ALIAS, "--webhook", receiver.url)
    assert run_mlflow(*guard).code == USAGE  # no secret
    monkeypatch.setenv("PERENNIAL_WEBHOOK_SECRET", "whsec_")
    assert "must be whsec_ and base64" in run_mlflow(*guard).err
    monkeypatch.setenv("PERENNIAL_WEBHOOK_SECRET", SECRET)
    assert run_mlflow(*guard[:-1], "chat.example/hook", "--once").code == USAGE

    def move(to: str) -> Callable[[], object]:
        return lambda: registry.set_registered_model_alias(MODEL, ALIAS, to)

    move(bad)()
    meanwhile(monkeypatch, move(foreign), move(good), lambda: None, move(bad), move(foreign))
    ended = run_mlflow(*guard, "--json")
    assert ended.code == INTERRUPTED, ended.err
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert [(one["from_version"], one["to_version"]) for one in events] == [
        (bad, good),  # before it has seen a good one: where production points
        (foreign, good),
        (bad, good),
        (foreign, good),
    ]
    verdict, unknown = [one["reason"] for one in events[:2]]
    assert verdict.startswith("Version 3 of demo would not go live by itself: The gate's verdict")
    assert unknown == "It is no version of the service."
    assert at(registry, ALIAS) == good
    for message, event in zip(receiver.received, events, strict=True):
        message.verify(SECRET)
        assert message.payload == {"type": "mlflow.alias_moved_back", "data": event}


def test_what_has_passed_stands_while_the_service_would_promote_it_without_a_reason(
    taught: Site, registry: MlflowClient, run_mlflow: Run
) -> None:
    told(run_mlflow, "mirror", MODEL)
    guard = ("guard", MODEL, "--alias", ALIAS, "--once", "--json")
    client, passed = taught.client, number(registry, 2)
    client.aliases.roll_back(MODEL, to=1, reason="a test")
    registry.set_registered_model_alias(MODEL, ALIAS, passed)
    ended = run_mlflow(*guard)
    assert (ended.code, at(registry, ALIAS)) == (0, passed), ended
    policy = client.models.get(MODEL)["policy"]
    client.models.change(MODEL, policy="default", reason="a test")
    ended = run_mlflow(*guard)
    assert at(registry, ALIAS) == number(registry, 1)
    assert "was made under another policy" in json.loads(ended.out)["reason"]
    assert client.versions.get(MODEL, 2)["verdict"] == "passed"
    client.models.change(MODEL, policy=policy, reason="as before")
    client.aliases.promote(MODEL, 2)


def test_tags_of_another_version_do_not_help_a_bad_one(
    taught: Site, registry: MlflowClient, run_mlflow: Run
) -> None:
    """Its number is that of a good version, whose digest it has not, or one that none can have."""
    told(run_mlflow, "mirror", MODEL)
    for named, reason in (
        ("2", "It is not version 2 of demo: their digests differ."),
        ("0", "It is no version of the service."),
    ):
        tags = {"perennial.version": named, "perennial.digest": "0" * 64}
        forged = registry.create_model_version(MODEL, source="/tmp/weights", tags=tags)
        registry.set_registered_model_alias(MODEL, ALIAS, str(forged.version))
        event = told(run_mlflow, "guard", MODEL, "--alias", ALIAS, "--once")
        assert event["reason"] == reason
        registry.delete_model_version(MODEL, str(forged.version))


def test_messages_have_neither_a_login_of_mlflow_nor_the_path_of_a_webhook(
    taught: Site,
    registry: MlflowClient,
    run_mlflow: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "mlflows-own-secret")
    port = free_port()
    away = run_mlflow("guard", MODEL, "--registry", f"http://someone:a-password@127.0.0.1:{port}")
    assert f"http://127.0.0.1:{port}/api" in away.err
    assert "a-password" not in away.err
    monkeypatch.setenv("PERENNIAL_WEBHOOK_SECRET", SECRET)
    told(run_mlflow, "mirror", MODEL)
    registry.set_registered_model_alias(MODEL, ALIAS, number(registry, 3))
    untaken = f"http://127.0.0.1:{port}/a-token"
    ended = run_mlflow("guard", MODEL, "--alias", ALIAS, "--webhook", untaken, "--once")
    assert "127.0.0.1 did not take the event" in ended.err
    assert "a-token" not in ended.err
    shown = taught.told() + caplog.text + away.out + away.err + ended.out + ended.err
    for secret in ("a-password", "mlflows-own-secret", SECRET.removeprefix("whsec_")):
        assert secret not in shown


def test_only_a_mirror_is_guarded(taught: Site, registry: MlflowClient, run_mlflow: Run) -> None:
    registry.create_registered_model("foreign")
    refused = run_mlflow("guard", "foreign", "--once")
    assert (refused.code, "is no mirror" in refused.err) == (ERROR, True)


def test_the_commands_of_the_guide_do_what_it_says(
    taught: Site, run_mlflow: Run, perennial: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/how-to/mlflow.md").read_text("utf-8")
    monkeypatch.setenv("PERENNIAL_WEBHOOK_SECRET", re.search("SECRET=(.*)", page)[1])
    lines = re.findall(r"^perennial (.*)$", page, flags=re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        meanwhile(monkeypatch)  # the guard looks once
        ended = perennial(*shlex.split(line))
        assert ended.code == (INTERRUPTED if "guard" in line else 0), f"{line}\n{ended.err}"
