"""Workers."""

from typing import TypedDict


class Worker(TypedDict):
    """A worker: a supervisor and its child, which holds one device."""

    id: str
    fresh: bool  # whether it counts as alive
    beat_age_s: float
    state: str
    job: str | None
    host: str
    pid: int | None
    child_pid: int | None
    device: str
    queues: list[str]
    formats: list[str]  # that it can export versions in
    version: str
    memory_bytes: int | None
    starts: int
