"""Logging in, and which address and key a command uses."""

import io
import json
import stat
from pathlib import Path

import pytest

from perennial.terminal.session import ERROR, KEY, UNREACHABLE, URL, USAGE, address_of
from tests.support.api.service import KEY as ADMIN
from tests.unit.client.commands.conftest import Run, Site


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The file that a login is stored in."""
    return tmp_path / "config" / "perennial" / "login.json"


def typed(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Let standard input hold a line."""
    monkeypatch.setattr("sys.stdin", io.StringIO(line))


def test_a_key_is_checked_and_stored_for_its_owner_alone(
    site: Site, run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, ADMIN + "\n")
    ended = run("login", site.url.removeprefix("http://") + "/")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"Logged in to {site.url} as admin (admin).\n")
    assert ADMIN not in ended.out
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert [path.name for path in stored.parent.iterdir()] == ["login.json"]
    assert json.loads(run("whoami", "--json").out) == {
        "url": site.url,
        "name": "admin",
        "role": "admin",
        "models": None,
        "key": site.client.keys.get("admin")["id"],
    }
    typed(monkeypatch, ADMIN)
    assert run("login").out.startswith(f"Logged in to {site.url} as admin")
    assert run("logout").code == 0
    assert not stored.exists()
    assert run("whoami").code == ERROR
    stored.write_text("{")
    assert f"{stored} is damaged" in run("whoami").err


def test_what_is_typed_at_a_terminal_is_asked_for(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    answers = iter([site.url, ADMIN])
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: next(answers))
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: next(answers))
    assert "as admin (admin)" in run("login").out


def test_a_login_that_does_not_work_is_not_stored(
    site: Site, run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, key, code, told in (
        (site.url, "pk_wrong", ERROR, "Log in again"),
        (site.url, "", ERROR, "no key"),
        ("http://127.0.0.1:1", ADMIN, UNREACHABLE, "No service answers at http://127.0.0.1:1"),
        ("nonsense", ADMIN, UNREACHABLE, "No service answers at https://nonsense"),
        ("http://[", ADMIN, UNREACHABLE, "No service answers at http://["),
    ):
        typed(monkeypatch, key)
        ended = run("login", url)
        assert (ended.code, told in ended.err) == (code, True), ended.err
    assert not stored.exists()


def test_the_environment_takes_precedence_and_a_key_goes_to_its_own_service_only(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "run `perennial login`" in run("whoami").err
    typed(monkeypatch, ADMIN)
    run("login", site.url)
    viewer = site.client.keys.create("looker", "viewer", models=["demo"])["secret"]
    monkeypatch.setenv(KEY, viewer)
    shown = run("whoami").out
    assert ("looker" in shown, "viewer" in shown, "demo" in shown) == (True, True, True)
    refused = run("rollback", "demo", "--reason", "x")
    assert (refused.code, refused.err) == (
        ERROR,
        "perennial: This takes at least the role operator; you have the role viewer.\n"
        "Ask an admin for a key of that role.\n",
    )
    monkeypatch.delenv(KEY)
    monkeypatch.setenv(URL, "http://elsewhere.example")
    assert f"Set {KEY} for http://elsewhere.example" in run("whoami").err
    monkeypatch.setenv(URL, site.url)
    assert run("whoami").code == 0


def test_deletions_ask_first(site: Site, perennial: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "")
    refused = perennial("model", "delete", "demo")
    assert (refused.code, refused.err) == (ERROR, "perennial: Nothing was done.\n")
    assert "demo" in {model["name"] for model in site.client.models.list()}
    assert perennial("model", "delete").code == USAGE


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8750", "http://127.0.0.1:8750"),
        ("localhost", "http://localhost"),
        ("[::1]:8750/", "http://[::1]:8750"),
        ("clip.example", "https://clip.example"),
        ("192.0.2.7:8750/clip", "https://192.0.2.7:8750/clip"),
        ("http://clip.example/", "http://clip.example"),
        ("[", "https://["),
        ("", ""),
    ],
)
def test_an_address_without_a_scheme_is_http_on_this_machine_alone(text: str, address: str) -> None:
    """So that no key goes unencrypted over a network unless that is asked for."""
    assert address_of(text) == address
