"""Lines that machines read, without secrets, and an environment that others do not see."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr
from structlog.contextvars import bound_contextvars

from core import logs
from core.settings import Settings
from tests.support.places import ROOT

log = logging.getLogger("perennial.test")
SECRET = "swordfish-swordfish-swordfish"


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)


@pytest.fixture
def said(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """The lines that have been logged since."""
    stream = io.StringIO()
    settings = Settings(home=tmp_path, log_format="json", admin_key=SecretStr(SECRET))
    logs.configure(settings, process="worker", stream=stream, worker="host:1")
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_names_time_level_event_process_and_what_it_is_about(
    said: Callable[[], list[dict[str, Any]]],
) -> None:
    with bound_contextvars(job="job_1", fence=3):
        log.info("%d steps", 7, extra={"attempt": 2})
    log.debug("too fine")
    (line,) = said()
    assert line.pop("time").endswith("Z")
    assert list(line.items())[:3] == [
        ("level", "info"),
        ("event", "7 steps"),
        ("process", "worker"),
    ]
    facts = {"worker": "host:1", "job": "job_1", "fence": 3, "attempt": 2}
    assert {name: line.get(name) for name in facts} == facts


def test_what_a_request_was_about_ends_with_it(
    said: Callable[[], list[dict[str, Any]]],
) -> None:
    logs.bind(request_id="req_1", other=1)
    log.info("one")
    logs.bind(request_id="req_2")
    log.info("two")
    first, second = said()
    assert (first["request_id"], first["other"]) == ("req_1", 1)
    assert second["request_id"] == "req_2"
    assert "other" not in second
    logs.bind()


def test_keys_and_passwords_are_never_written(
    said: Callable[[], list[dict[str, Any]]],
) -> None:
    key = "pk_0123456789abcdefghij"
    signing = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=="
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmVk"
    log.warning("sent %s and %s and %s and %s", key, SECRET, signing, token)
    log.warning("redis://:hunter2@broker:6379/0", extra={"header": f"Bearer {key[3:]}"})
    try:
        int(key)
    except ValueError:
        password = "hunter2"  # a local variable, which no trace may show
        log.exception("failed with %d letters", len(password))
    lines = said()
    assert [line["level"] for line in lines] == ["warning", "warning", "error"]
    text = json.dumps(lines)
    assert not any(
        secret in text for secret in (key, key[3:], SECRET, signing[6:], token[4:], "hunter2")
    )
    assert "ValueError" in text


def test_a_terminal_gets_plain_traces_without_local_variables(tmp_path: Path) -> None:
    stream = io.StringIO()
    logs.configure(Settings(home=tmp_path, log_format="console"), process="api", stream=stream)
    letters = [chr(ord("a") + n) for n in range(4)]
    try:
        int("".join(letters[:1]))
    except ValueError:
        log.exception("failed")
    text = stream.getvalue()
    assert "Traceback (most recent call last):" in text
    assert "ValueError: invalid literal" in text
    assert "'b', 'c'" not in text


def test_no_event_loop_waits_for_another_that_is_busy_or_closed(tmp_path: Path) -> None:
    stream = io.StringIO()
    logs.configure(Settings(home=tmp_path, log_format="json"), process="api", stream=stream)

    def say_and_stop() -> None:
        log.info("first")
        closed.stop()

    closed = asyncio.new_event_loop()
    closed.call_soon(say_and_stop)
    closed.run_forever()
    closed.close()
    assert stream.getvalue() == ""

    async def busy() -> None:
        log.info("second")
        others.submit(asyncio.run, other()).result(10)

    async def other() -> None:
        log.info("third")
        await asyncio.sleep(0)
        events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
        assert events == ["first", "second", "third"]

    with ThreadPoolExecutor(1) as others:
        asyncio.run(busy())


PROGRAM = """
import os, subprocess, sys
from core.logs import hide_environment
{hide}
print(os.environ["PERENNIAL_ADMIN_KEY"])
subprocess.run([sys.executable, "-c", "import os; print(os.environ['PERENNIAL_ADMIN_KEY'])"])
sys.stdin.read()
"""


def run(hide: str) -> tuple[list[str], dict[str, str]]:
    """The environment as a process, its child and other processes see it."""
    given = os.environ | {"PERENNIAL_ADMIN_KEY": SECRET, "PYTHONPATH": str(ROOT)}
    given["PERENNIAL_HOME"] = "/a home"
    command = [sys.executable, "-u", "-c", PROGRAM.format(hide=hide)]
    with subprocess.Popen(
        command, env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        found = [process.stdout.readline().strip() for _ in range(2)]
        seen = psutil.Process(process.pid).environ()
        process.communicate()
    return found, seen


@pytest.mark.parametrize("hide", ["", "hide_environment()"])
def test_an_environment_that_is_hidden_is_still_the_processs_own(hide: str) -> None:
    found, seen = run(hide)
    assert found == [SECRET, SECRET]
    if hide and sys.platform == "linux":
        assert seen == {"PERENNIAL_HOME": "/a home"}
    else:
        assert seen["PERENNIAL_ADMIN_KEY"] == SECRET
