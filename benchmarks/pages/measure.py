"""Requests of pages by a browser that is signed in, one after the other."""

import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

import httpx
import psutil

from api.http.authentication.key_check import SESSION_COOKIE
from api.http.paths import PAGES, SIGN_IN, STATIC

EMPTY = "empty page"


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The times of a page's requests, and the size of the page."""

    seconds: Sequence[float]
    cpu: float  # seconds of the server, for each request
    page_bytes: int  # of its HTML

    @property
    def p50(self) -> float:
        """The median, in seconds."""
        return median(self.seconds)

    @property
    def p95(self) -> float:
        """The time that one request in twenty exceeds, in seconds."""
        return quantiles(self.seconds, n=20)[18]


class Visitor:
    """A browser with a session."""

    def __init__(self, url: str, key: str, pid: int) -> None:
        self._client = httpx.Client(base_url=url, timeout=120, trust_env=False)
        self._client.post(SIGN_IN, data={"key": key})
        if SESSION_COOKIE not in self._client.cookies:
            raise SystemExit("The benchmark could not sign in.")
        self._server = psutil.Process(pid)

    def measure(self, pages: Mapping[str, str], rounds: int) -> dict[str, Taken]:
        """Ask for each page once a round, after two rounds that warm up, the empty page first."""
        seconds: dict[str, list[float]] = defaultdict(list)
        cpu: dict[str, float] = defaultdict(float)
        sizes: dict[str, int] = {}
        for number in range(-2, rounds):
            for name, path in {EMPTY: SIGN_IN, **pages}.items():
                worked, began = self._worked(), time.perf_counter()
                answer = self._client.get(path)
                took = time.perf_counter() - began
                if answer.status_code != 200:
                    raise SystemExit(f"{path} was answered with {answer.status_code}.")
                sizes[name] = len(answer.content)
                if number >= 0:
                    seconds[name].append(took)
                    cpu[name] += (self._worked() - worked) / rounds
        return {
            name: Taken(seconds=found, cpu=cpu[name], page_bytes=sizes[name])
            for name, found in seconds.items()
        }

    def static_bytes(self) -> int:
        """Return the size of the style sheet and the scripts, which every page needs."""
        text = self._client.get(PAGES).text
        files = set(re.findall(rf'"({STATIC}[^"]+\.(?:css|js))"', text))
        return sum(len(self._client.get(path).content) for path in files)

    def _worked(self) -> float:
        times = self._server.cpu_times()
        return float(times.user + times.system)
