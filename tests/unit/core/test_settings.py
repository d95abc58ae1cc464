"""Settings that are refused at the start."""

import json

import pytest
from pydantic import ValidationError

from core.logs import secrets_of
from core.settings import ImportBucket, Settings


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
