"""ApacheBench as the client, which takes much less of the cores than Python does.

Debian's package `apache2-utils` has the program. It sends one request over and over.
"""

import csv
import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.api.scene import Target
from benchmarks.serving.bare import Taken
from devtools.process_memory import cpu_seconds

MOST = 10**7  # requests: the time ends earlier


def by_ab(target: Target, clients: int, seconds: float) -> Taken:
    """Have ApacheBench send a request from so many clients for some time.

    Raises RuntimeError if one failed, and FileNotFoundError without the program.
    """
    head, _, body = target.message.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in headers.items()}
    with tempfile.TemporaryDirectory() as folder:
        sent, waits = Path(folder) / "body", Path(folder) / "waits.csv"
        sent.write_bytes(body)
        command = ["ab", "-q", "-k", "-l", "-c", str(clients), "-t", str(seconds), "-n", str(MOST)]
        command += ["-p", str(sent), "-T", headers["content-type"], "-e", str(waits)]
        command += ["-H", f"Authorization: {headers['authorization']}"]
        url = f"http://{target.host}:{target.port}{first.split()[1]}"
        worked = cpu_seconds(target.pid)
        done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
        worked = cpu_seconds(target.pid) - worked
        rows = list(csv.reader(waits.read_text().splitlines()))[1:]
    told = done.stdout
    if re.search(r"Non-2xx responses|Failed requests:\s+[1-9]", told):
        raise RuntimeError(told)
    return Taken(
        images=int(_number("Complete requests", told)),
        answers=[float(wait) / 1000 for _, wait in rows],  # a hundred quantiles
        seconds=_number("Time taken for tests", told),
        cpu=worked,
    )


def _number(name: str, told: str) -> float:
    found = re.search(rf"{name}:\s+([\d.]+)", told)
    if found is None:
        raise RuntimeError(told)
    return float(found.group(1))
