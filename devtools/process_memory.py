"""The resident memory and CPU time of a service's processes, while something happens."""

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

EVERY_S = 0.2
_ROLES = {
    "cli": "server",
    "worker.supervision": "supervisor",
    "worker": "worker",
    "worker.inference": "inference",
}


@dataclass(frozen=True, kw_only=True)
class MemorySamples:
    """Resident bytes by role, over time; of several processes of a role, the largest."""

    taken: list[Mapping[str, int]] = field(default_factory=list)

    def peaks(self) -> dict[str, int]:
        """Return the most bytes of each role."""
        peaks: dict[str, int] = {}
        for sample in self.taken:
            for role, size in sample.items():
                peaks[role] = max(size, peaks.get(role, 0))
        return peaks

    def at(self, share: float, role: str) -> int:
        """Return the bytes of a role after a share of the time, 0 to 1; 0 if it was not there."""
        return self.taken[round(share * (len(self.taken) - 1))].get(role, 0)


@contextmanager
def sampled_memory(pid: int) -> Iterator[MemorySamples]:
    """Sample a service's processes within the context, at its beginning and its end as well."""
    samples, ended = MemorySamples(), threading.Event()

    def sample() -> None:
        while not ended.wait(EVERY_S):
            samples.taken.append(_resident(pid))

    samples.taken.append(_resident(pid))
    thread = threading.Thread(target=sample, name="memory")
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()
        samples.taken.append(_resident(pid))


def cpu_seconds(pid: int, roles: Collection[str] | None = None) -> float:
    """Return the CPU time that a service's present processes, or those of roles, have taken."""
    total = 0.0
    for process in _processes(pid):
        with suppress(psutil.NoSuchProcess):
            if roles is None or _role(process) in roles:
                times = process.cpu_times()
                total += times.user + times.system
    return total


def processes_by_role(pid: int) -> dict[str, list[int]]:
    """Return the ids of a service's processes."""
    found: dict[str, list[int]] = {}
    for process in _processes(pid):
        with suppress(psutil.NoSuchProcess):
            found.setdefault(_role(process), []).append(process.pid)
    return found


def _resident(pid: int) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for process in _processes(pid):
        with suppress(psutil.NoSuchProcess):
            role = _role(process)
            sizes[role] = max(sizes.get(role, 0), process.memory_info().rss)
    return sizes


def _processes(pid: int) -> list[psutil.Process]:
    service = psutil.Process(pid)
    return [service, *service.children(recursive=True)]


def _role(process: psutil.Process) -> str:
    """Return the role of a process by the module that it runs; a decoder runs none."""
    line = process.cmdline()
    module = line[line.index("-m") + 1] if "-m" in line else ""
    return _ROLES.get(module, "decoder" if "-I" in line else "other")
