"""The parts that commands share: exit codes and failures, the login, following a job."""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import httpx

from perennial.client import Client
from perennial.errors import JobFailed, ServiceError
from perennial.terminal.output import job_bar, note, print_blame, tell, told_counts
from perennial.types import Job, Report

# Exit codes of the command; docs/commands.md lists them.

ERROR = 1
USAGE = 2
GATE = 3  # the gate failed a version or was inconclusive, also where that refuses its promotion
JOB = 4  # a job failed or was cancelled
UNREACHABLE = 5  # no service answers, or it cannot answer now
INTERRUPTED = 130

# Failures: messages that say what to do, and exit codes.

_ADVICE = {
    "unauthorised": "Log in again with `perennial login`, or set PERENNIAL_KEY to another key.",
    "forbidden": "Ask an admin for a key of that role.",
    "stale_revision": "Look at its state with `perennial aliases`, then decide again.",
    "stale_preview": "Look at its report with `perennial report`, then decide again.",
    "gate_failed": "`perennial report` says why.",
    "rate_exceeded": "Wait a moment and try again.",
}

_OVERRIDE = (
    "To promote it anyway, give a --reason, and --override where an override is required; for a "
    "version that failed, that takes an admin's key."
)

_BUSY = {429, 502, 503, 504}


class Failure(Exception):
    """A command failed; the message is for people."""

    def __init__(self, message: str, exit_code: int = ERROR) -> None:
        super().__init__(message, exit_code)
        self.message = message
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


def explained(error: Exception, url: str, hint: str = "") -> Failure:
    """Return an error of the client as a failure of the command; `hint` says what to try."""
    if isinstance(error, ServiceError):
        return _refusal(error, hint)
    if isinstance(error, JobFailed):
        return Failure(f"{error}.".replace("..", "."), JOB)
    return Failure(
        f"No service answers at {url} ({error or type(error).__name__}). Check the address with "
        "`perennial login` or PERENNIAL_URL, whether it is http:// or https://, and that the "
        "service runs.",
        UNREACHABLE,
    )


def _refusal(error: ServiceError, hint: str) -> Failure:
    lines = [" ".join(filter(None, [error.detail or error.code, hint]))]
    for line in error.errors:
        place, told = line.get("pointer"), line["detail"] == error.detail
        if place:
            lines.append(f"  at {place}" if told else f"  {place}: {line['detail']}")
        elif not told:
            lines.append(f"  {line['detail']}")
    for file in error.facts.get("files", ()):
        lines.append(f"  {file['file']}: {file['error']['detail']}")
    if error.code in _ADVICE:
        lines.append(_ADVICE[error.code])
    if error.code == "gate_failed" and "override" in _given():
        lines[-1] += f" {_OVERRIDE}"
    if again := error.facts.get("score_again"):
        named = f"{again['model']}:{again['version']} --alias {again['alias']}"
        lines.append(f"Score it again with `perennial evaluate {named} --wait`.")
    if error.status == 500 and error.request_id:
        lines.append(f"The service's log has more under {error.request_id}.")
    code = GATE if error.code == "gate_failed" else UNREACHABLE if error.status in _BUSY else ERROR
    return Failure("\n".join(dict.fromkeys(lines)), code)


# What was meant by a name that does not exist, among those that do.

MOST_NAMES, SHOWN = 1000, 10


def _suggestion(client: Client, error: ServiceError) -> str:
    """Return which names or versions there are in place of one that there is not, or nothing."""
    kind = error.code.removesuffix("_not_found")
    try:
        exist = list(islice(_existing(client, kind, error.facts), MOST_NAMES))
    except (ServiceError, httpx.TransportError):
        return ""  # the refusal itself is what must be told
    if near := get_close_matches(str(error.facts.get(kind, "")), exist):
        return f"Did you mean {' or '.join(near)}?"
    return f"These exist: {', '.join(exist[-SHOWN:])}." if exist else ""


def _existing(client: Client, kind: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of a kind that exist, as they are written in commands."""
    given = _given()
    named = given.get("model") or given.get("named") or given.get("reference") or ""
    model = re.split("[:@]", named if isinstance(named, str) else named[0])[0]
    match kind:
        case "model":
            yield from (one["name"] for one in client.models.list())
        case "dataset":
            yield from (one["name"] for one in client.datasets.list())
        case "suite":
            yield from (one["name"] for one in client.suites.list())
        case "alias" if model:
            yield from (one["alias"] for one in client.aliases.list(model))
        case "version" if model:
            yield from (f"{model}:{one['version']}" for one in client.versions.list(model))
        case "dataset_version":
            name = client.datasets.get(facts["dataset"])["name"]
            yield from (f"{name}:{one['number']}" for one in client.datasets.versions(name))


def _given() -> Mapping[str, Any]:
    """Return the parameters of the command that runs, by name."""
    context = click.get_current_context(silent=True)
    return context.params if context else {}


# The address and the key that commands use: of the environment, or stored by `login`.

URL, KEY = "PERENNIAL_URL", "PERENNIAL_KEY"
DEFAULT_URL = "http://127.0.0.1:8750"

# Advice and answers may wait until a version has been loaded.
TIMEOUT = httpx.Timeout(600.0, connect=10.0)


@dataclass(frozen=True, kw_only=True)
class Login:
    """A service and a key of it."""

    url: str
    key: str


@contextmanager
def connected(login: Login | None = None) -> Iterator[Client]:
    """Yield a client of the service that is logged in to. Raises Failure."""
    chosen = login or current()
    try:
        with Client(chosen.url, chosen.key, timeout=TIMEOUT) as client:
            try:
                yield client
            except ServiceError as error:
                raise explained(error, chosen.url, _suggestion(client, error)) from error
    except (ServiceError, JobFailed, httpx.TransportError, httpx.InvalidURL) as error:
        raise explained(error, chosen.url) from error


HERE = {"localhost", "127.0.0.1", "::1"}


def address_of(text: str) -> str:
    """Return an address with its scheme: without one it is http on this machine, else https."""
    text = text.strip().rstrip("/")
    if not text or "://" in text:
        return text
    try:
        host = urlsplit(f"//{text}").hostname
    except ValueError:
        host = None  # httpx says what is wrong with it
    return f"{'http' if host in HERE else 'https'}://{text}"


def current_url() -> str:
    """Return the address of the service that commands use, for callers with keys of their own."""
    url, known = address_of(os.environ.get(URL, "")), stored()
    return url or (known.url if known else DEFAULT_URL)


def current() -> Login:
    """Return the login that commands use. Raises Failure if there is none.

    A stored key is sent to its own service only.
    """
    url, key, known = address_of(os.environ.get(URL, "")), os.environ.get(KEY), stored()
    if key:
        return Login(url=current_url(), key=key)
    if known and url in {"", known.url}:
        return known
    if known:
        raise Failure(f"The stored key belongs to {known.url}. Set {KEY} for {url} as well.")
    raise Failure(f"You are not logged in: run `perennial login`, or set {URL} and {KEY}.")


def stored() -> Login | None:
    """Return the stored login, if there is one. Raises Failure if its file is damaged."""
    path = _path()
    try:
        return Login(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise Failure(f"{path} is damaged: run `perennial login` again.") from error


def store(login: Login) -> Path:
    """Store a login in a file that its owner alone may read, and return the path."""
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    # A temporary file has mode 0600 from its first byte on.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump(asdict(login), file)
    return Path(file.name).replace(path)


def forget() -> None:
    """Delete the stored login, if there is one."""
    _path().unlink(missing_ok=True)


def _path() -> Path:
    return Path(click.get_app_dir("perennial")) / "login.json"


# Following a job to its end, and telling how it ended.


def follow(client: Client, job: str) -> Job:
    """Show a job's progress until it has ended, and return it. Raises JobFailed."""
    try:
        with job_bar() as show:
            for event in client.jobs.watch(job):
                show(event)
    except KeyboardInterrupt:
        note(f"The job goes on. Follow it with `perennial watch {job}`.")
        raise
    return ended(client, job)


def tell_ordered(job: Job, as_json: bool) -> None:
    """Print a job that goes on by itself."""
    followed = f"Follow it with `perennial watch {job['id']}`."
    tell(job, as_json, f"Ordered: {job['id']}. {followed}")


def tell_job(
    client: Client,
    job: Job,
    wait: bool,
    as_json: bool,
    told: Callable[[Client, Job], object] | None = None,
) -> Job:
    """Print a job or, with `wait`, follow it and print what it came to. Return it as it is then.

    `told` prints what it came to, instead of `tell_end`. Raises JobFailed.
    """
    if not wait:
        tell_ordered(job, as_json)
        return job
    job = follow(client, job["id"])
    tell(job, as_json, partial(told or tell_end, client))
    return job


def ended(client: Client, job: str) -> Job:
    """Return a job that has succeeded. Raises JobFailed for one that ended otherwise."""
    found = client.jobs.get(job)
    if found["status"] != "succeeded":
        raise JobFailed(found)
    return found


# Why an alias was not moved; other reasons are codes of errors, which the documentation lists.
STAYS = {
    "not_asked_for": "the order leaves that to a person",
    "gate_failed": "the gate failed the version",
    "gate_inconclusive": "the gate cannot decide",
}


def tell_end(client: Client, job: Job) -> None:
    """Print what a job that has succeeded came to."""
    if job["type"] == "blame":
        print_blame(client.jobs.blame(job["id"]))
        return
    result = job["result"] or {}
    if job["type"] == "import_images":
        click.echo(told_counts(result))
        return
    verdict, version, model = result.get("verdict"), result.get("version"), job["model"]
    if version is None or model is None:
        click.echo(f"Job {job['id']} ({job['type']}) has succeeded.")
        return
    if verdict:
        print_verdict(client.versions.report(model, version))
    else:
        click.echo(f"{model}: version {version}")
    promotion = result.get("promotion") or {}
    if promotion.get("moved"):
        click.echo(f"{model}@{promotion['alias']} is version {version}.")
    elif promotion:
        why = STAYS.get(promotion["reason"], promotion["reason"])
        click.echo(f"{model}@{promotion['alias']} stays where it is: {why}.")
        if verdict == "passed":
            click.echo(f"To make it live: perennial promote {model}:{version}")


def print_verdict(report: Report) -> None:
    """Print the verdict, what is not guarded, learned and lost, and the gate's reasons."""
    click.echo(f"{report['model']}: version {report['version']}, gate: {report['verdict']}")
    for sentence in sentences(report):
        click.echo(sentence)
    for reason in report["reasons"]:
        click.echo(f"- {reason}")


def sentences(report: Report) -> list[str]:
    """Return a report's first sentences: what is not guarded, learned, lost, and may it go live."""
    found = report["summary"]
    return [
        one
        for one in (found["unguarded"], found["learned"], found["lost"], found["go_live"])
        if one
    ]


def require_passed(job: Job) -> None:
    """End the command with the gate's exit code unless the gate passed the job's version."""
    verdict = (job["result"] or {}).get("verdict")
    if verdict not in {None, "passed"}:
        note(f"perennial: The gate's verdict is '{verdict}'.")
        raise click.exceptions.Exit(GATE)
