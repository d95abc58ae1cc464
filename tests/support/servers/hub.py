"""A stand-in for a hub of models: as much of its protocol as an upload of a folder asks for.

It is no hub: it was written after what huggingface_hub sends, knows one token, keeps everything in
memory, and takes large files by Git LFS alone, not by Xet.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.servers.answering import QuietHandler, answering

COMMIT = "0123456789" * 4


@dataclass
class StandInHub:
    """The repositories and files that a stand-in was sent."""

    token: str
    url: str = ""
    made: list[dict[str, Any]] = field(default_factory=list)  # as they were asked for
    files: dict[str, bytes] = field(default_factory=dict)  # of the one commit
    large: dict[str, bytes] = field(default_factory=dict)  # by SHA-256

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        """Do what a POST asks for and return the answer."""
        last = path.rsplit("/", 2)
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.made.append(asked)
            return {"url": f"{self.url}/{asked['organization']}/{asked['name']}"}
        if last[1] == "preupload":
            return {"files": [self._mode(one["path"]) for one in json.loads(body)["files"]]}
        if last[1] == "objects":
            asked = json.loads(body)["objects"]
            return {"transfer": "basic", "objects": [self._upload(one) for one in asked]}
        if last[1] == "commit":
            for line in body.splitlines():
                self._commit(json.loads(line))
            repository = path.split("/", 3)[3].partition("/commit/")[0]
            url = f"{self.url}/{repository}/commit/{COMMIT}"
            return {"commitUrl": url, "commitOid": COMMIT, "pullRequestUrl": None}
        return {"errors": [], "warnings": []}  # of a card's YAML

    def _mode(self, path: str) -> dict[str, Any]:
        mode = "lfs" if path.endswith(".safetensors") else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False}

    def _upload(self, one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "actions": {"upload": {"href": f"{self.url}/large/{one['oid']}"}}}

    def _commit(self, line: dict[str, Any]) -> None:
        value = line["value"]
        if line["key"] == "file":
            self.files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            self.files[value["path"]] = self.large[value["oid"]]


@contextmanager
def a_stand_in_hub(token: str) -> Iterator[StandInHub]:
    """Run a stand-in that takes one token."""
    hub = StandInHub(token)

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("authorization") != f"Bearer {hub.token}":
                self.reply(401, {"error": "Invalid credentials."})
                return
            self.reply(200, hub.answer(self.path.partition("?")[0], body))

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            hub.large[hashlib.sha256(body).hexdigest()] = body
            self.reply(200, {})

        def reply(self, status: int, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with answering(Handler) as hub.url:
        yield hub
