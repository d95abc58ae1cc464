"""Debian's Prometheus with its tool."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from devtools.servers.ports import free_port
from devtools.servers.programs import PROMETHEUS, find

START_S = 60.0


def find_prometheus(program: str = "prometheus") -> str:
    """Return the path of prometheus or promtool. Raises ProgramMissing."""
    return str(find(PROMETHEUS).with_name(program))


@contextmanager
def prometheus_server(folder: Path, configuration: Mapping[str, Any]) -> Iterator[str]:
    """Start a server in an empty folder; yield its URL, and kill it at the end."""
    url = f"http://127.0.0.1:{free_port()}"
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": url.removeprefix("http://"),
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([find_prometheus(), *flags], stdout=log, stderr=log)
    try:
        until = time.monotonic() + START_S
        while not _is_ready(url):
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError((folder / "log").read_text())
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False).is_success
    except httpx.TransportError:
        return False
