"""A service whose worker is scripted, at which versions are exported."""

from dataclasses import dataclass
from typing import Any

from tests.support.api.service import Service
from tests.support.scene import Script
from tests.support.tools import run_next

EXPORTS = "/v1/models/demo/versions/1/exports"


@dataclass(frozen=True)
class Desk:
    """A service whose worker is scripted."""

    service: Service
    script: Script

    def order(self, export_format: str = "onnx", path: str = EXPORTS, **headers: str) -> Any:
        body = {"format": export_format}
        return self.service.client.post(path, json=body, headers=headers)

    def work(self) -> Any:
        """Run the next job; it as it is shown afterwards."""
        job = run_next(self.service.platform, self.script)
        return self.service.client.get(f"/v1/jobs/{job.id}").json()

    def export(self, export_format: str = "onnx", path: str = EXPORTS) -> Any:
        answer = self.order(export_format, path)
        assert answer.status_code == 202, answer.text
        return self.work()

    def get(self, path: str, **headers: str) -> Any:
        return self.service.client.get(path, headers=headers)
