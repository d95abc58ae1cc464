"""Registries that give out tokens, and those that nothing may be sent to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.servers import PASSWORD
from perennial.publishing import oci
from perennial.publishing.facts import Facts
from perennial.publishing.oci import Repository
from perennial.terminal.session import Failure
from tests.support.servers.answering import QuietHandler, answering
from tests.support.servers.oci import BASIC, USER, a_registry_with_tokens

VERSION = {
    "model": "demo",
    "version": 2,
    "digest": "ab" * 32,
    "verdict": "passed",
    "created_at": "2026-01-02T03:04:05Z",
}
FACTS = Facts(version=VERSION, root=VERSION, report=None, data=None, licence="mit", base=None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to send, by a user with a password."""
    made = tmp_path / "model"
    made.mkdir()
    (made / "open_clip_model.safetensors").write_bytes(bytes(1000))
    (made / "README.md").write_text("# demo")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(oci.USER, USER)
    monkeypatch.setenv(oci.PASSWORD, PASSWORD)
    return made


def test_what_a_registry_has_is_not_sent_again_and_its_tokens_are_asked_for_as_needed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registry").mkdir()
    with a_registry_with_tokens(tmp_path / "registry") as (host, asked):
        address = f"oci://{host}/lab/shoes:2"
        where = Repository(address).send(folder, FACTS, image=False)
        assert where.startswith(f"{address}@sha256:")
        scopes = [query["scope"][0].rpartition(":") for query in asked]
        assert {name for name, *_ in scopes} == {"repository:lab/shoes"}
        # The registry names the actions of a scope in any order.
        assert [{*actions.split(",")} for *_, actions in scopes] == [{"pull"}, {"pull", "push"}]
        log, upload = tmp_path / "registry/log", '"POST /v2/lab/shoes/blobs/uploads/'
        sent = log.read_text().count(upload)
        assert sent >= 3, "two files and a configuration"
        assert Repository(address).send(folder, FACTS, image=False) == where
        assert log.read_text().count(upload) == sent
        monkeypatch.setenv(oci.PASSWORD, "wrong-one")
        with pytest.raises(Failure) as refused:
            Repository(address).send(folder, FACTS, image=False)
        assert "401 Unauthorized" in refused.value.message
        assert "wrong-one" not in refused.value.message


@contextmanager
def a_stand_in(challenge: str = "", location: str = "") -> Iterator[tuple[str, list[str | None]]]:
    """A registry without a blob that takes any upload; its host, and the logins that it was sent.

    It wants a login if it has a challenge, and names the location as where uploads go.
    """
    logins: list[str | None] = []

    class Handler(QuietHandler):
        def do_HEAD(self) -> None:
            self.say(404)

        def do_POST(self) -> None:
            self.say(202, Location=location)

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.say(201)

        def say(self, status: int, **headers: str) -> None:
            logins.append(self.headers.get("Authorization"))
            if challenge and not logins[-1]:
                status, headers = 401, {"WWW-Authenticate": challenge}
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

    with answering(Handler) as url:
        yield url.removeprefix("http://"), logins


ELSEWHERE = "http://registry.example/here"


@pytest.mark.parametrize(
    "named", [{"challenge": f'Bearer realm="{ELSEWHERE}"'}, {"location": ELSEWHERE}], ids="".join
)
def test_nothing_goes_to_another_machine_without_tls(named: dict[str, str], folder: Path) -> None:
    with a_stand_in(**named) as (host, logins):
        with pytest.raises(Failure, match=r"it names registry\.example, without https"):
            Repository(f"oci://{host}/lab/shoes:2").send(folder, FACTS, image=False)
        assert set(logins) == {None}


def test_a_store_that_takes_the_uploads_of_a_registry_gets_no_login(folder: Path) -> None:
    with (
        a_stand_in() as (store, asked),
        a_stand_in('Basic realm="tests"', f"http://{store}/upload?part=1") as (host, logins),
    ):
        Repository(f"oci://{host}/lab/shoes:2").send(folder, FACTS, image=False)
    assert asked == [None] * 3  # two files and a configuration
    assert logins == [None, *[BASIC] * 7]


def test_an_answer_that_is_not_of_the_api_is_told_as_such(folder: Path) -> None:
    with (
        a_stand_in("Bearer token") as (host, _),
        pytest.raises(Failure, match="does not answer as the distribution API does"),
    ):
        Repository(f"oci://{host}/lab/shoes:2").send(folder, FACTS, image=False)
