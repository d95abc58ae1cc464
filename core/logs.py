"""Logging: one line per event, as JSON for machines or in columns for a terminal.

Everything that logs (this project, uvicorn, Celery, SQLAlchemy, Python's warnings) goes through
the standard library's root logger; structlog only formats its records.
"""

import asyncio
import ctypes
import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog
from pydantic import SecretStr
from structlog.contextvars import bind_contextvars, clear_contextvars
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from core.settings import Settings

Line = MutableMapping[str, Any]

_FIRST = ("time", "level", "event", "process")
_QUIET = (
    *("celery", "kombu", "amqp", "httpx", "httpcore", "uvicorn", "alembic", "PIL"),
    *("boto3", "botocore", "s3transfer", "urllib3"),
)
_SECRETS = {  # patterns, each by a text without which it matches nothing
    "pk_": r"pk_[A-Za-z0-9_-]{8,}",  # a key
    "eyJ": r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",  # a token of an issuer
    "whsec_": r"whsec_[A-Za-z0-9+/]{8,}=*",  # what signs webhooks
    "earer ": r"(?<=[Bb]earer )[A-Za-z0-9._~+/=-]+",  # anything sent as a key
    "://": r"(?<=://)[^/\s@\"]*:[^/\s@\"]+(?=@)",  # user and password of a URL
}
_SHORTEST_SECRET = 8


def configure(
    settings: Settings, *, process: str, stream: TextIO | None = None, **facts: str
) -> None:
    """Configure all loggers of this process to write lines with `process` and the facts.

    The lines go to standard error, or to `stream`. Keys and passwords, including those in
    the settings, are redacted in the finished line, wherever they came from.
    """
    stream = stream or sys.stderr
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not stream.isatty()
    )
    handler = _LineHandler(stream)
    handler.setFormatter(_formatter({"process": process, **facts}, secrets_of(settings), as_json))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel((settings.log_level or ("info" if as_json else "warning")).upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(True)


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines; on an event loop, those of one of its iterations together at its end.

    Each write releases the interpreter's lock, and a busy loop waits long to get it back. Warnings
    and errors are written at once.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._writer: asyncio.AbstractEventLoop | None = None  # that will write them

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line, or keep it until the end of the loop's iteration."""
        try:
            self._lines.append(self.format(record) + self.terminator)
            loop = _running_loop() if record.levelno < logging.WARNING else None
            if loop is None:
                self.flush()
            elif loop is not self._writer:  # which may be busy, or closed
                self._writer = loop
                loop.call_soon(self.flush)
        except Exception:  # noqa: BLE001 - as the base class does
            self.handleError(record)

    def flush(self) -> None:
        """Write the lines that were kept."""
        self.acquire()
        try:
            lines, self._lines, self._writer = self._lines, [], None
            self.stream.write("".join(lines))
            super().flush()
        finally:
            self.release()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def bind(**facts: object) -> None:
    """Add these facts, and no earlier ones, to every further line of this task or thread."""
    clear_contextvars()
    bind_contextvars(**facts)


def bound_value(name: str) -> str:
    """Return the fact that this task's or thread's lines carry under a name, or ""."""
    return str(structlog.contextvars.get_contextvars().get(name, ""))


def secrets_of(settings: Settings) -> frozenset[str]:
    """Return the settings' secrets, which need not match any pattern."""
    keys = (
        *(value for value in vars(settings).values() if isinstance(value, SecretStr)),
        *(bucket.secret_access_key for bucket in settings.import_buckets),
    )
    texts = (key.get_secret_value() for key in keys)
    return frozenset(text for text in texts if len(text) >= _SHORTEST_SECRET)


def _formatter(
    facts: Mapping[str, str], secrets: Iterable[str], as_json: bool
) -> logging.Formatter:
    def add_facts(_logger: object, _method: str, line: Line) -> Line:
        return {**line, **facts}

    patterns = _SECRETS | {secret: re.escape(secret) for secret in secrets}
    known = re.compile("|".join(patterns.values()))

    def redact(_logger: object, _method: str, text: str) -> str:
        if not any(part in text for part in patterns):  # most lines: a search takes much longer
            return text
        return known.sub("[secret]", text)

    end: list[Any] = [
        ProcessorFormatter.remove_processors_meta,
        add_facts,
        _in_order,
    ]
    if as_json:
        end += [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ]
    else:  # never rich tracebacks: they print local variables, and so keys and file names
        plain = structlog.dev.plain_traceback
        end.append(structlog.dev.ConsoleRenderer(exception_formatter=plain, timestamp_key="time"))
    end.append(redact)
    return ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            ExtraAdder(),
        ],
        processors=end,
    )


def _in_order(_logger: object, _method: str, line: Line) -> Line:
    first = {name: line[name] for name in _FIRST if name in line}
    return first | {name: value for name, value in line.items() if name not in first}


# Hiding of a process's initial environment from other processes.

_SHOWN = b"PERENNIAL_HOME="  # distinguishes the processes of two services on one machine
_BEGIN, _END = 47, 48  # env_start and env_end, counted behind the command's name in stat(5)


def hide_environment() -> None:
    """Blank /proc/<pid>/environ, except PERENNIAL_HOME; `os.environ` keeps its values.

    Linux shows the environment that a process was started with for as long as it runs, whatever
    happens to the variables. Call this before any thread is started. On other systems it does
    nothing.
    """
    if sys.platform != "linux":
        return
    for name, value in os.environ.items():
        os.environ[name] = value  # moves it to a copy that the kernel does not show
    facts = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(facts[_BEGIN]), int(facts[_END])
    given = ctypes.string_at(begin, end - begin).split(b"\0") if begin else []
    shown = b"".join(line + b"\0" for line in given if line.startswith(_SHOWN))
    ctypes.memmove(begin, shown.ljust(end - begin, b"\0"), end - begin)
