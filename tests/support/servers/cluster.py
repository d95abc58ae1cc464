"""A small cluster: an API server for Jobs, Kueue's admission, and pods that are real processes.

It refuses what the schemas of Kubernetes refuse, admits one Job at a time, oldest first, and has a
pod follow another one as Kubernetes' controller of Jobs does. It is no evidence of what a real
cluster does beyond that.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import RLock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml

from tests.support.processes import EXIT_S, is_alive, wait_for_exit

KUBERNETES = "1.37"
QUEUE_NAME = "kueue.x-k8s.io/queue-name"
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: small
clusters: [{{name: small, cluster: {{server: {url}}}}}]
users: [{{name: dispatcher, user: {{token: a-token}}}}]
contexts: [{{name: small, context: {{cluster: small, user: dispatcher}}}}]
"""

Body = dict[str, Any]


@dataclass(kw_only=True)
class Pod:
    """A process with the container's arguments and variables, and with a folder as its `/data`."""

    process: "subprocess.Popen[bytes]"
    data: Path
    disrupted: bool = False

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    def evict(self) -> None:
        """Ask it to stop, and wait until it has."""
        self.disrupted = True
        self.process.terminate()
        wait_for_exit(self.process)

    def lose_node(self) -> None:
        """Kill it and what it has started at once, as when a machine loses its power."""
        self.disrupted = True
        os.killpg(self.process.pid, signal.SIGKILL)
        wait_for_exit(self.process)


@dataclass(kw_only=True)
class SmallCluster:
    """The Jobs of all namespaces by name, the pods of each, and the requests so far."""

    folder: Path
    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)  # of the test, for every pod
    jobs: dict[str, Body] = field(default_factory=dict)
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    verbs: list[str] = field(default_factory=list)
    url: str = ""
    down: bool = False
    lock: RLock = field(default_factory=RLock)

    @property
    def kubeconfig(self) -> str:
        path = self.folder / "kubeconfig"
        path.write_text(KUBECONFIG.format(url=self.url))
        return str(path)

    # ---- Kueue, and the controllers of Jobs ----

    def admit(self) -> str | None:
        """Let the Job run that has waited longest, unless one runs; return the name."""
        with self.lock:
            live = [one for one in self.jobs.values() if not conditions(one)]
            if any(not one["spec"]["suspend"] for one in live):
                return None
            for one in live:
                if QUEUE_NAME in one["metadata"]["labels"]:
                    one["spec"]["suspend"] = False
                    name: str = one["metadata"]["name"]
                    self._start(name)
                    return name
        return None

    def preempt(self, name: str) -> None:
        """Suspend a Job, as Kueue does for one of a higher priority: its pod is asked to stop."""
        with self.lock:
            self.jobs[name]["spec"]["suspend"] = True
        self.pods[name][-1].evict()

    def control(self) -> None:
        """Do what the controller of Jobs does about each pod that has ended."""
        with self.lock:
            for name, one in self.jobs.items():
                if conditions(one) or one["spec"]["suspend"]:
                    continue
                pod = self.pods[name][-1]
                if pod.exit_code is None:
                    continue
                if pod.exit_code == 0:
                    end(one, "Complete")
                elif not pod.disrupted and self._failures(name) > one["spec"]["backoffLimit"]:
                    end(one, "Failed", "Job has reached the specified backoff limit")
                else:
                    self._start(name)

    def _failures(self, name: str) -> int:
        return sum(bool(pod.exit_code) and not pod.disrupted for pod in self.pods[name])

    def _start(self, name: str) -> None:
        pods = self.pods.setdefault(name, [])
        data = self.folder / f"{name}-{len(pods)}"
        data.mkdir()
        [container] = self.jobs[name]["spec"]["template"]["spec"]["containers"]
        given = {one["name"]: self._value(one) for one in container["env"]}
        named = {key: value.replace("/data", str(data), 1) for key, value in given.items()}
        program, *arguments = container["args"]
        assert program == "python"
        with (data / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=os.environ | named | self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        pods.append(Pod(process=process, data=data))

    def _value(self, variable: Body) -> str:
        if "value" in variable:
            return str(variable["value"])
        return self.secrets.get(variable["valueFrom"]["secretKeyRef"]["key"], "")

    def logs(self) -> str:
        return "\n".join((p.data / "log").read_text() for pods in self.pods.values() for p in pods)

    def close(self) -> None:
        """Stop the pods that still run; none may need to be killed."""
        running = [p for pods in self.pods.values() for p in pods if is_alive(p.process.pid)]
        for pod in running:
            pod.process.terminate()
        for pod in running:
            wait_for_exit(pod.process, seconds=EXIT_S)
        for pods in self.pods.values():
            for pod in pods:
                shutil.rmtree(pod.data, ignore_errors=True)

    # ---- The API server ----

    def answer(self, verb: str, path: str, body: Body | None) -> tuple[int, Body]:
        """Answer a request about Jobs of a namespace."""
        with self.lock:
            place = urlsplit(path)
            *prefix, namespace, kind = place.path.strip("/").split("/")[:6]
            assert (prefix, kind) == (["apis", "batch", "v1", "namespaces"], "jobs"), path
            name = place.path.strip("/").split("/")[6:]
            self.verbs.append(verb)
            if self.down:
                return status(503, "ServiceUnavailable")
            if verb == "POST":
                return self._create(namespace, body)
            if verb == "DELETE":
                return self._delete(*name)
            assert (verb, name) == ("GET", []), path
            [selector] = parse_qs(place.query)["labelSelector"]
            wanted = dict(one.split("=") for one in selector.split(","))
            found = [one for one in self.jobs.values() if wanted.items() <= labels(one).items()]
            return 200, {
                "apiVersion": "batch/v1",
                "kind": "JobList",
                "metadata": {},
                "items": found,
            }

    def _create(self, namespace: str, body: Body) -> tuple[int, Body]:
        kubernetes_validate.validate(body, KUBERNETES, strict=True)
        assert body["metadata"]["namespace"] == namespace
        name = body["metadata"]["name"]
        if name in self.jobs:
            return status(409, "AlreadyExists")
        now = datetime.now(UTC).isoformat()
        stored = json.loads(json.dumps(body))
        stored["metadata"]["creationTimestamp"] = now
        stored["status"] = {}
        self.jobs[name] = stored
        return 201, stored

    def _delete(self, name: str) -> tuple[int, Body]:
        if name not in self.jobs:
            return status(404, "NotFound")
        del self.jobs[name]
        for pod in self.pods.get(name, []):
            if pod.exit_code is None:
                pod.evict()
        return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}


def labels(job: Body) -> dict[str, str]:
    found: dict[str, str] = job["metadata"]["labels"]
    return found


def conditions(job: Body) -> list[Body]:
    return list(job["status"].get("conditions", ()))


def end(job: Body, kind: str, message: str = "") -> None:
    """Have a Job end as the controller of Jobs says it."""
    job["status"]["conditions"] = [{"type": kind, "status": "True", "message": message}]


def status(code: int, reason: str) -> tuple[int, Body]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason}


@contextmanager
def small_cluster(folder: Path, **given: Any) -> Iterator[SmallCluster]:
    """A cluster that listens on a free port of this machine."""
    cluster = SmallCluster(folder=folder, **given)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(cluster.answer))
    server.daemon_threads = True
    cluster.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        cluster.close()


def _handler(
    answer: Callable[[str, str, Body | None], tuple[int, Body]],
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = yaml.safe_load(self.rfile.read(length)) if length else None
            assert self.headers["Authorization"] == "Bearer a-token"
            code, said = answer(self.command, self.path, body)
            data = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _reply

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
