"""Answers of S3 that break off, and servers that give none."""

import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import IncompleteReadError

from core.artifacts.s3 import S3Artifacts
from core.artifacts.s3_requests import S3Location
from core.errors import ArtifactsUnavailable
from core.values import sha256
from devtools.servers import CREDENTIALS, s3_server
from tests.support.servers.early_end import early_end

DATA = b"some bytes"


class CutOff(nullcontext[Any]):
    """The body of an answer whose connection broke, after some bytes perhaps."""

    def __init__(self, before: bytes = b"") -> None:
        super().__init__()
        self._before = before

    def __enter__(self) -> "CutOff":
        return self

    def read(self, size: int) -> bytes:
        if self._before:
            found, self._before = self._before, b""
            return found
        raise IncompleteReadError(actual_bytes=3, expected_bytes=10)

    def close(self) -> None:
        pass


def test_an_answer_cut_off_midway_is_asked_for_again(
    s3: S3Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = s3.put(DATA)
    real, asked = s3._client.get_object, []

    def cut_off(**given: Any) -> Any:
        asked.append(given)
        return real(**given) if len(asked) == 3 else {"Body": CutOff()}

    monkeypatch.setattr(s3._client, "get_object", cut_off)
    assert s3.get(found) == DATA
    assert len(asked) == 3


def test_pieces_go_on_where_an_answer_was_cut_off(
    s3: S3Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(600_000)
    found, real, asked = s3.put(data), s3._client.get_object, list[str]()

    def cut_off(**given: Any) -> Any:
        asked.append(given.get("Range", ""))
        answer = real(**given)
        return (
            answer if len(asked) == 3 else answer | {"Body": CutOff(answer["Body"].read(100_000))}
        )

    monkeypatch.setattr(s3._client, "get_object", cut_off)
    assert b"".join(s3.pieces(found)) == data
    assert asked == ["", "bytes=100000-", "bytes=200000-"]


def test_an_answer_whose_connection_closes_early_is_not_taken_for_a_damaged_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for read in (S3Artifacts.get, lambda store, found: b"".join(store.pieces(found))):
        with early_end(DATA, announced=True) as (url, asked):
            place = S3Location.of("s3://bucket", scratch=tmp_path, endpoint=url, region="")
            store = S3Artifacts(place)
            assert read(store, sha256(DATA)) == DATA
            store.close()
        assert len(asked) == 2


def test_a_server_that_hangs_or_dies_is_told_after_the_tries_of_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as (url, process):
        place = S3Location.of("s3://bucket", scratch=tmp_path, endpoint=url, region="")
        patient = S3Artifacts(place)  # the server's first answers may take long
        patient.make_bucket()
        found = patient.put(DATA)
        patient.close()
        store = S3Artifacts(replace(place, connect_s=0.5, read_s=0.5, tries=2))
        config = store._client.meta.config
        assert (config.connect_timeout, config.read_timeout) == (0.5, 0.5)
        sent: list[str] = []
        store._client.meta.events.register("before-send.s3", lambda request, **_: sent.append(url))
        for harm in (signal.SIGSTOP, signal.SIGKILL):
            process.send_signal(harm)
            for act in (lambda: store.get(found), lambda: store.put(DATA), store.free_bytes):
                sent.clear()
                with pytest.raises(ArtifactsUnavailable):
                    act()
                assert len(sent) == 2
        store.close()
