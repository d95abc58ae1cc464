"""Mutated files sent to a served service, and what it answered."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

IMAGES = "/v1/datasets/uploaded/images"
IMPORTS = "/v1/datasets/imported/imports"
AT_ONCE = 4  # uploads
WAITING = 50  # imports that wait for the worker at a time
POLL_EVERY_S = 0.2
REFUSED = {
    "archive_corrupt",
    "archive_empty",
    "archive_too_big",
    "archive_unsafe",
    "file_too_large",
    "image_list_invalid",
    "table_invalid",
}

Input = tuple[str, str, bytes]  # kind, mutation, bytes


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The outcomes by kind, and every answer that is the service's fault."""

    outcomes: Mapping[str, Counter[str]]
    faults: list[str] = field(default_factory=list)

    def add(self, sent: Input, outcome: str, fault: str = "") -> None:
        """Count an outcome; `fault` says why it should not have been."""
        self.outcomes[sent[0]][outcome] += 1
        if fault:
            self.faults.append(f"{sent[0]}, {sent[1]}: {fault}")


def send_images(client: httpx.Client, inputs: Sequence[Input], answers: Answers) -> None:
    def upload(sent: Input) -> httpx.Response:
        files = [("boot", (f"mutated.{sent[0]}", sent[2]))]
        return client.post(IMAGES, files=files)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for sent, answer in zip(inputs, pool.map(upload, inputs), strict=True):
            body = answer.json()
            if answer.status_code == 200:
                answers.add(sent, body["data"][0]["outcome"])
            elif body["code"] == "all_rejected":
                answers.add(sent, body["facts"]["files"][0]["error"]["code"])
            else:
                answers.add(sent, body["code"], f"{answer.status_code} {answer.text}")


def send_archives(client: httpx.Client, inputs: Iterable[Input], answers: Answers) -> None:
    """Order an import of each archive, and wait until all have ended."""
    waiting: list[tuple[Input, str]] = []
    for sent in inputs:
        headers = {"Content-Type": "application/octet-stream"}
        answer = client.post(IMPORTS, content=sent[2], headers=headers)
        if answer.status_code == 202:
            waiting.append((sent, answer.json()["id"]))
        elif answer.status_code == 415:
            answers.add(sent, answer.json()["code"])
        else:
            answers.add(sent, "unexpected", f"{answer.status_code} {answer.text}")
        if len(waiting) == WAITING:
            _count_imports(client, waiting, answers)
            waiting.clear()
    _count_imports(client, waiting, answers)


def _count_imports(
    client: httpx.Client, waiting: Iterable[tuple[Input, str]], answers: Answers
) -> None:
    for sent, job in waiting:
        while not (ended := client.get(f"/v1/jobs/{job}").json())["done"]:
            time.sleep(POLL_EVERY_S)
        code = ended["error"]["code"] if ended["error"] else ended["status"]
        expected = code in REFUSED or ended["status"] == "succeeded"
        once = ended["attempt"] == 1  # no worker died of it
        answers.add(sent, code, "" if expected and once else f"{ended}")
