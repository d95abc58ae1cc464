"""The command line."""

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import pytest
from pydantic import SecretStr

from cli.main import main
from core.settings import Settings
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_root
from tests.support.api.service import EMBEDDED, KEY, running, settings_of
from tests.support.places import ROOT


@pytest.fixture(autouse=True)
def environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the test's own home, in the environment."""
    monkeypatch.setenv("PERENNIAL_HOME", str(home))
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", KEY)
    monkeypatch.setenv("PERENNIAL_EMBEDDED", "false")
    monkeypatch.setenv("PERENNIAL_MIN_FREE_BYTES", "1")


@EMBEDDED
@pytest.mark.parametrize(
    "command",
    [[], ["serve"], ["migrate"], ["suite"], ["advise"], ["gc"], ["backup"], ["restore"], ["key"]],
)
def test_every_command_explains_itself(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: perennial" in capsys.readouterr().out


def test_a_busy_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert f"Port {port} is in use" in capsys.readouterr().err


def test_an_open_bind_without_a_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", "")
    assert main(["serve", "--host", "0.0.0.0", "--port", "0"]) == 1
    assert "PERENNIAL_ADMIN_KEY" in capsys.readouterr().err


def test_serve_prints_where_it_is_and_the_key_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "new"))
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", "")
    assert serve_once().count("pk_") == 1
    with running(Settings()):
        assert "pk_" not in capsys.readouterr().out


def serve_once() -> str:
    """Start a service, ask it how it is, interrupt it; all it printed."""
    command = [sys.executable, "-m", "cli", "serve", "--port", "0"]
    printed = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                printed += line
                if found := re.search(r"is running at (http://127\.0\.0\.1:\d+)", line):
                    assert httpx.get(f"{found[1]}/healthz", timeout=20).json() == {"status": "ok"}
                    process.send_signal(signal.SIGINT)
            assert "is running at" in printed
            process.wait(20)
        finally:
            process.kill()
    return printed


@EMBEDDED
def test_migrate_makes_the_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "fresh"))
    assert main(["migrate"]) == 0
    assert (tmp_path / "fresh" / "perennial.db").exists()


def test_key_prints_a_fresh_key(capsys: pytest.CaptureFixture[str]) -> None:
    main(["key"])
    main(["key"])
    first, second = capsys.readouterr().out.split()
    assert first.startswith("pk_")
    assert first != second


def test_a_new_key_is_let_in_beside_the_old_one_until_that_is_revoked(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = "pk_the-next-key-that-tests-know-of"
    with running(settings_of(home)):
        pass
    with running(settings_of(home, admin_key=SecretStr(new))) as service:

        def answers() -> list[int]:
            keys = [{"Authorization": f"Bearer {key}"} for key in (KEY, new)]
            return [service.client.get("/v1/workers", headers=key).status_code for key in keys]

        assert answers() == [200, 200]
        monkeypatch.setenv("PERENNIAL_ADMIN_KEY", new)
        assert main(["key", "--revoke-others"]) == 0
        assert capsys.readouterr().out == "Keys revoked: 1.\n"
        assert answers() == [401, 200]


def test_nobody_revokes_the_last_key(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(settings_of(home)) as service:
        monkeypatch.setenv("PERENNIAL_ADMIN_KEY", "")
        assert main(["key", "--revoke-others"]) == 1
        assert "PERENNIAL_ADMIN_KEY" in capsys.readouterr().err
        assert service.client.get("/v1/workers").status_code == 200


def test_a_suite_is_made_of_class_folders(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(settings_of(home)) as service:
        a_root(service.platform)
    for seed, name in enumerate(["cat", "cat", "dog"]):
        (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name / f"{seed}.png").write_bytes(picture(seed))
    broken = tmp_path / "images" / "dog" / "broken.png"
    broken.write_bytes(b"not an image")
    command = ["suite", "pets", str(tmp_path / "images"), "--prompt", "one {name}"]
    assert main([*command, "--model", "demo"]) == 0
    told = capsys.readouterr()
    assert "pets: 3 images, 2 classes" in told.out
    assert f"{broken}: Images must be" in told.err
    with running(settings_of(home)) as service:
        suite = service.client.get("/v1/suites/pets").json()
        assert (suite["images"], suite["prompt"]) == (3, "one {name}")
        assert service.client.get("/v1/models/demo").json()["suites"] == ["pets"]
    assert main(command) == 1
    assert "already" in capsys.readouterr().err


def test_a_suite_is_made_of_a_list_of_captions(home: Path, tmp_path: Path) -> None:
    lines = [{"path": "a.png", "captions": ["one", "two"]}, {"path": "b.png", "caption": "three"}]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "a.png").write_bytes(picture(1))
    (tmp_path / "b.png").write_bytes(picture(2))
    assert main(["suite", "talk", str(tmp_path), "--kind", "retrieval"]) == 0
    with running(settings_of(home)) as service:
        assert service.client.get("/v1/suites/talk").json()["images"] == 2


def test_the_kind_of_suite_chooses_between_class_and_caption(home: Path, tmp_path: Path) -> None:
    line = {"path": "a.png", "cls": "cat", "caption": "a cat on a mat"}
    (tmp_path / "captions.jsonl").write_text(json.dumps(line))
    (tmp_path / "a.png").write_bytes(picture(1))
    assert main(["suite", "pets", str(tmp_path)]) == 0
    assert main(["suite", "talk", str(tmp_path), "--kind", "retrieval"]) == 0
    with running(settings_of(home)) as service:
        assert service.client.get("/v1/suites/pets").json()["classes"] == ["cat"]
        images = service.client.get("/v1/datasets/talk/images").json()["data"]
        assert [image["texts"] for image in images] == [["a cat on a mat"]]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"path": "a.png"}', '{"path": "missing.png", "caption": "x"}']
)
def test_a_list_that_cannot_be_read_names_the_line(
    tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1))
    (folder / "captions.jsonl").write_text("\n" + line)
    assert main(["suite", "talk", str(folder), "--kind", "retrieval"]) == 1
    assert f"{folder / 'captions.jsonl'} line 2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_images_is_told(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["suite", "x", str(tmp_path / "empty" / name)]) == 1
    assert "older" in capsys.readouterr().err
