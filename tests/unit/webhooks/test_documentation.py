"""The receiver in docs/webhooks.md works as it stands there."""

import re
from datetime import UTC, datetime
from http.server import HTTPServer
from threading import Thread
from typing import Any

import pytest

from core.outbox.rules import EventType, Message, make_secret
from core.webhooks.deliver import HttpWebhookClient
from tests.support.places import ROOT

PAGE = (ROOT / "docs/webhooks.md").read_text()


def test_the_documented_receiver_takes_what_is_signed_and_prints_it_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.+?)```", PAGE, flags=re.DOTALL)
    secret, found = make_secret(), {}
    monkeypatch.setattr(HTTPServer, "serve_forever", lambda self: None)
    exec(code.replace("whsec_...", secret).replace('("", 8080)', '("127.0.0.1", 0)'), found)
    monkeypatch.undo()
    server: Any = found["server"]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        client = HttpWebhookClient(seconds=5, allow_private=True)
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        body = b'{"type":"job.failed","data":{"links":{"job":"/v1/jobs/job_1"}}}'
        statuses = [
            client.send(
                url, Message(id="evt_1", at=datetime.now(UTC), body=body, secrets=(key,))
            ).response_status
            for key in (make_secret(), secret, secret)
        ]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert statuses == [400, 204, 204]
    assert capsys.readouterr().out == "job.failed {'job': '/v1/jobs/job_1'}\n"


def test_every_event_type_is_documented() -> None:
    rows = re.findall(r"^\| (`.+?) \|", PAGE.split("## Events")[1], flags=re.MULTILINE)
    assert sorted(re.findall(r"`(.+?)`", " ".join(rows))) == sorted(EventType)
