"""A file of evidence, opened with nothing but the standard library."""

import hashlib
import io
import json
import zipfile
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]


# Right now, right before, the group of near-duplicates, the edition with which the image came, and
# the change of the soft hit: the image makes up one half and its views the other; None without
# views.
Row = tuple[bool, bool, str, int, str, float | None]

DIRECTIONS = ("image_to_text", "text_to_image")


class Evidence:
    """A file, opened with nothing but the standard library."""

    def __init__(self, file: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            envelope = json.loads(archive.read("attestation.intoto.json"))
            self.report: Json = json.loads(archive.read("report.json"))
            statement = json.loads(b64decode(envelope["payload"]))
            for subject in statement["subject"]:
                data = archive.read(subject["name"])
                assert hashlib.sha256(data).hexdigest() == subject["digest"]["sha256"]
            self.facts: Json = json.loads(archive.read("evidence.json"))
            self.part = {
                one["file"]: json.loads(archive.read(f"parts/{one['file']}.json"))
                for one in (*self.facts["images"], *self.facts["answers"])
            }
        self.plan: Json = self.filled(self.facts["plan"])
        self.policy: Json = self.plan["policy"]
        self.to_label: list[str] = []  # suites with too few labels for one of the comparisons
        self.said = {(one["version"], one["query"]): one["file"] for one in self.facts["answers"]}
        self.rows: dict[tuple[Any, ...], tuple[Json, list[Row]]] = {}  # with the exam, by its id
        self._meanings: dict[str, str] = {}

    def filled(self, value: Any) -> Any:
        """JSON in which the rows of tables are in their places."""
        if isinstance(value, dict) and value.keys() == {"table", "row"}:
            if value["table"] == "images":
                return self.part[self.facts["images"][value["row"]]["file"]]
            return self.filled(self.facts[value["table"]][value["row"]])
        if isinstance(value, dict):
            return {name: self.filled(one) for name, one in value.items()}
        return [self.filled(one) for one in value] if isinstance(value, list) else value

    def answers(self, version: Json, query: Json) -> Json:
        return self.part[self.said[version["digest"], name_of(query)]]

    def right(self, version: Json, query: Json, kind: str) -> list[bool]:
        """The right answers of a version."""
        return self.rights(version, query, kind)[0]

    def found(self, version: Json, exam: Json, about: Json) -> list[bool]:
        """The searches that found what they are about, in the gallery that is asked."""
        gallery, kind, depth = gallery_of(exam, about["asked"]), about["kind"], about["depth"]
        own, whole, said = (
            exam["own"]["entries"],
            gallery["entries"],
            self.answers(version, gallery),
        )
        if kind == "image_to_text":
            ranks = dict(zip([pixels for pixels, *_ in whole], said["image_ranks"], strict=True))
            return [ranks[pixels] < depth for pixels, *_ in own]
        told = [(pixels, text) for pixels, _, _, *texts in whole for text in texts]
        first = dict(zip(told, said["caption_ranks"], strict=True))
        return [first[pixels, text] < depth for pixels, _, _, *texts in own for text in texts]

    def soft(self, version: Json, query: Json, kind: str) -> list[int] | None:
        """The number of right answers to views of each image; None without all views."""
        views = query.get("views", 0)
        hits = self.rights(version, query, kind)
        if not views or len(hits) <= views:
            return None
        return [sum(each) for each in zip(*hits[1 : views + 1], strict=True)]

    def rights(self, version: Json, query: Json, kind: str) -> list[list[bool]]:
        """The right answers: to the images, and to each view of them."""
        said = self.answers(version, query)
        names = [self.meaning(name) for name in query["classes"]] + [None]
        truths = [self.meaning(label) for *_, label in query["entries"]]
        return [
            [names[at] == truth for at, truth in zip(each, truths, strict=True)]
            for each in (said["predicted"], *said.get("views", ()))
        ]

    def meaning(self, name: str) -> str:
        """One name for all that the policy calls the same."""
        if name not in self._meanings:
            self._meanings[name] = self._meaning_of(name)
        return self._meanings[name]

    def _meaning_of(self, name: str) -> str:
        same = {name.lower()}
        for _ in self.policy["same_names"]:
            for pair in self.policy["same_names"]:
                lower = {one.lower() for one in pair}
                same |= lower if lower & same else set()
        return min(same)


def name_of(query: Json) -> str:
    """The digest that names a query, as docs/how-to/verify.md says."""
    rows = query["entries"]
    if "classes" in query:
        named = [[pixels, label] for pixels, *_, label in rows]
        what: list[Any] = ["class", named, query["classes"], query["prompt"]["text"]]
        what += ["mirror"] if query["mirror"] else []
    else:
        what = ["retrieval", [[pixels, texts] for pixels, _, _, *texts in rows]]
    text = json.dumps(what, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def asked_of(exam: Json, asked: str) -> Json:
    """The query on the images that count; of captions, whatever else is in the gallery."""
    own: Json = exam["own"]
    return own if "among" in exam else exam.get(asked, own)


def gallery_of(exam: Json, asked: str) -> Json:
    """The query on all that is searched: over `union`, with what updates have taught since."""
    shorter: Json = exam["among"] or exam["own"]
    return exam["union"] or shorter if asked == "union" else shorter


def choices(evidence: Evidence, query: Json) -> int:
    """The classes to choose from; those that mean the same are one."""
    return len({evidence.meaning(name) for name in query["classes"]})


def distinct(exam: Json) -> int:
    """The images of a holdout, near-duplicates counted once."""
    return len({oldest or pixels for pixels, oldest, *_ in exam["own"]["entries"]})
