"""Settings that are refused at the start."""

import ast
import json
import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from core.logs import secrets_of
from core.settings import USAGE, ImportBucket, Settings, read_settings
from tests.support.places import ROOT

PASSWORD = "only-the-database-knows-it"


@pytest.mark.parametrize("origin", ["studio.example", "https://a.example/", "https://*.example"])
def test_an_origin_that_no_browser_sends_is_refused_at_start(origin: str) -> None:
    with pytest.raises(ValidationError):
        Settings(cors_origins=(origin,))


def test_a_bucket_that_is_named_twice_is_refused_at_start() -> None:
    one, other = (ImportBucket(name="photos", endpoint=f"https://{at}.example") for at in "ab")
    with pytest.raises(ValidationError, match="name each bucket once"):
        Settings(import_buckets=(one, other))


def test_what_is_refused_at_start_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    half = {"name": "photos", "secret_access_key": "only-the-store"}
    monkeypatch.setenv("PERENNIAL_IMPORT_BUCKETS", json.dumps([half]))
    with pytest.raises(ValidationError, match="access_key_id and secret_access_key") as refused:
        Settings()
    assert half["secret_access_key"] not in str(refused.value)


def test_buckets_are_read_from_json_and_their_secrets_are_kept_out_of_logs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = "only-the-store-knows-it"
    whole = {"name": "photos", "access_key_id": "a", "secret_access_key": secret}
    monkeypatch.setenv("PERENNIAL_IMPORT_BUCKETS", json.dumps([whole, {"name": "shop"}]))
    monkeypatch.setenv("PERENNIAL_SIGNING_KEY", f"{secret}, either")
    settings = Settings()
    assert [bucket.name for bucket in settings.import_buckets] == ["photos", "shop"]
    assert secret not in repr(settings)
    assert secrets_of(settings) == {secret, f"{secret}, either"}


def test_each_wrong_setting_is_told_in_a_line_that_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = {"name": "", "endpoint": f"ftp://a:{PASSWORD}@b", "secret_access_key": [PASSWORD]}
    wrong = {
        "PORT": ("eighty", "must be a whole number, and is 'eighty'."),
        "INFERENCE_PORT": ("65536", "must be less than or equal to 65535, and is '65536'."),
        "EMBEDDED": ("perhaps", "must be true or false, and is 'perhaps'."),
        "QUEUES": ("gpu", """must be a list in JSON, such as ["a", "b"], and is 'gpu'."""),
        "OIDC_ROLES": ("[]", 'must be an object in JSON, such as {"a": "b"}, and is [].'),
        "LOG_FORMAT": ("xml", "must be 'auto', 'json' or 'console', and is 'xml'."),
        "DATABASE_URL": (
            f"postgresql://perennial:{PASSWORD}@db:x/perennial",
            "must be postgresql+psycopg://USER:PASSWORD@HOST:PORT/NAME, sqlite:///PATH or empty.",
        ),
        "BROKER_URL": (
            f"amqp://:{PASSWORD}@broker",
            "must be redis://:PASSWORD@HOST:PORT/0, rediss:// with TLS, or empty.",
        ),
        "TRACES_URL": (f"tcp://:{PASSWORD}@c", r"must match pattern '^(https?://\S+)?$'."),
        "IMPORT_BUCKETS": (json.dumps([bucket]), ""),
    }
    for name, (value, _) in wrong.items():
        monkeypatch.setenv(f"PERENNIAL_{name}", value)
    with pytest.raises(SystemExit) as ended:
        read_settings()
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == USAGE
    told = {f"perennial: PERENNIAL_{name} {words}" for name, (_, words) in wrong.items() if words}
    of_buckets = "perennial: PERENNIAL_IMPORT_BUCKETS[0]."
    assert {line for line in lines if not line.startswith(of_buckets)} == told
    places = [line.removeprefix(of_buckets).split()[0] for line in lines if of_buckets in line]
    assert places == ["name", "endpoint", "secret_access_key"]
    assert PASSWORD not in str(lines)


def test_a_process_with_a_wrong_setting_ends_with_the_code_of_wrong_usage() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "worker.supervision.health"],
        env=os.environ | {"PERENNIAL_PORT": "eighty"},
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    told = "perennial: PERENNIAL_PORT must be a whole number, and is 'eighty'.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (USAGE, "", told)


def test_no_process_reads_its_settings_without_telling_what_is_wrong_with_them() -> None:
    rooms = ("api", "cli", "migrations", "worker")
    places = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    bare = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in places
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node) == "Settings()"
    ]
    assert len(places) > 50
    assert bare == []


def test_settings_that_may_hold_a_password_are_not_shown() -> None:
    urls = [name for name in Settings.model_fields if name.endswith(("_url", "_endpoint"))]
    given = dict.fromkeys(urls, f"http://perennial:{PASSWORD}@there")
    bucket = ImportBucket.model_construct(name="photos", endpoint=given["s3_endpoint"])
    settings = Settings.model_construct(**given, import_buckets=(bucket,))
    assert {"database_url", "broker_url", "inference_url", "traces_url"} <= {*urls}
    assert PASSWORD not in f"{settings!r} {settings} {bucket!r}"
