"""A notification: a message that says which job, on whatever broker, or nothing at all."""

import base64
import json
from pathlib import Path

from core.jobs.broker import TASK, CeleryNotifier
from core.jobs.orders import Queue
from core.settings import Settings
from core.values import JobId


def test_a_notification_is_a_message_with_the_jobs_id(tmp_path: Path) -> None:
    notifier = CeleryNotifier(Settings(home=tmp_path))
    notifier.notify(JobId("job_1"), Queue.HOUSEKEEPING)
    notifier.close()
    (path,) = (tmp_path / "broker").glob("*.msg")
    message = json.loads(path.read_text())
    arguments, _, _ = json.loads(base64.b64decode(message["body"]))
    assert message["headers"]["task"] == TASK
    assert arguments == ["job_1"]
    assert message["properties"]["delivery_info"]["routing_key"] == "perennial.housekeeping"


def test_a_broker_that_is_away_raises_nothing(tmp_path: Path) -> None:
    notifier = CeleryNotifier(Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0"))
    notifier.notify(JobId("job_1"), Queue.HOUSEKEEPING)
    notifier.close()
