"""Schema of workers."""

from typing import Self

from pydantic import Field

from api.schemas.common import ResponseModel
from core.use_cases.operations.workers import WorkerState


class WorkerView(ResponseModel):
    """A worker: a supervisor and its child, which holds one device."""

    id: str = Field(examples=["gpu-7:1f3a09bc"], description="New at each start.")
    fresh: bool = Field(description="Whether its last heartbeat is recent enough.")
    beat_age_s: float = Field(
        examples=[0.8], description="Age of its last heartbeat, by the database's clock."
    )
    state: str = Field(examples=["busy"], description="busy or idle.")
    job: str | None = Field(examples=["job_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    host: str = Field(examples=["gpu-7"])
    pid: int | None = Field(examples=[4711])
    child_pid: int | None = Field(examples=[4712])
    device: str = Field(examples=["cuda:0"])
    queues: list[str] = Field(
        examples=[["gpu", "housekeeping"]], description="Queues that it serves."
    )
    formats: list[str] = Field(
        examples=[["open_clip", "huggingface", "onnx", "onnx_int8"]],
        description="Formats that it can export versions in.",
    )
    version: str = Field(examples=["0.1.0"], description="Perennial's release.")
    memory_bytes: int | None = Field(description="Resident memory of the child process.")
    starts: int = Field(examples=[1], description="Number of child processes that it has started.")

    @classmethod
    def of(cls, state: WorkerState) -> Self:
        """Return the view of a worker."""
        facts = state.heartbeat.facts
        return cls(
            id=state.heartbeat.worker,
            fresh=state.fresh,
            beat_age_s=round(max(0.0, state.heartbeat.age_s), 3),
            state=facts.get("state", "idle"),
            job=facts.get("job"),
            host=facts.get("host", state.heartbeat.worker.partition(":")[0]),
            pid=facts.get("pid"),
            child_pid=facts.get("child"),
            device=facts.get("device", ""),
            queues=facts.get("queues", []),
            formats=facts.get("formats", []),
            version=facts.get("version", ""),
            memory_bytes=facts.get("memory_bytes"),
            starts=facts.get("starts", 0),
        )
