"""A bill of materials in CycloneDX's JSON, with its component for machine learning models.

It is written here because cyclonedx-python-lib has no class for model cards; a test asks that
library whether the schema allows it. There is neither a serial number nor a time in it, so that
the same version published twice has the same bytes.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any
from urllib.parse import quote

from perennial.publishing.facts import TASK, Facts
from perennial.terminal.output import measure_of
from perennial.terminal.session import sentences
from perennial.types import DatasetVersion, Ruling

BOM = "bom.cdx.json"
SPEC = "1.6"
MODEL = "machine-learning-model"


def bill_of_materials(facts: Facts, files: Iterable[Path]) -> str:
    """Return the document of a version whose files are these."""
    document = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "metadata": {"tools": {"components": [_tool()]}, "component": _model(facts, files)},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _tool() -> dict[str, str]:
    name = "perennial-client"
    return {"type": "application", "name": name, "version": version_of(name)}


def _model(facts: Facts, files: Iterable[Path]) -> dict[str, Any]:
    version = facts.version
    return {
        "type": MODEL,
        "bom-ref": facts.name,
        "name": version["model"],
        "version": str(version["version"]),
        "licenses": [{"license": {"id": facts.spdx} if facts.spdx else {"name": facts.licence}}],
        "components": [_file(path) for path in files],
        "pedigree": {"ancestors": list(_ancestors(facts))},
        "modelCard": _card(facts),
    }


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    hashes = [{"alg": "SHA-256", "content": digest}]
    return {"type": "file", "bom-ref": f"file:{path.name}", "name": path.name, "hashes": hashes}


def _ancestors(facts: Facts) -> Iterator[dict[str, Any]]:
    """Yield what the weights descend from, the nearest first."""
    version, root = facts.version, facts.root
    if (parent := version["parent"]) is not None:
        digests = {root["version"]: root["digest"]}
        if facts.report:
            digests[facts.report["parent"]] = facts.report["parent_digest"]
        for number in dict.fromkeys((parent, root["version"])):
            found: dict[str, Any] = {
                "type": MODEL,
                "name": version["model"],
                "version": str(number),
            }
            if digest := digests.get(number):
                found["properties"] = [_property("digest", digest)]
            yield found
    if facts.base:
        yield {"type": MODEL, "name": facts.base, "purl": f"pkg:huggingface/{quote(facts.base)}"}


def _card(facts: Facts) -> dict[str, Any]:
    """Return the model card; there are no metrics in it of what was not scored."""
    version, report = facts.version, facts.report
    card: dict[str, Any] = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": TASK,
            "architectureFamily": "CLIP",
            "datasets": [_dataset(facts.data)] if facts.data else [],
            "inputs": [{"format": "image"}, {"format": "text"}],
            "outputs": [{"format": "embedding"}],
        },
        "properties": [
            _property("digest", version["digest"]),
            _property("verdict", version["verdict"] or "none"),
            _property("precision", version["precision"]),
            _property("prompt", version["prompt"]),
            *(_property("class", name) for name in version["classes"]),
            *(
                _property(f"recipe:{name}", value)
                for name, value in (version["recipe"] or {}).items()
            ),
        ],
    }
    if report:
        card["properties"].append(_property("alpha", report["policy"]["alpha"]))
        metrics = [metric for one in report["measures"] for metric in _metrics(one)]
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
        tradeoffs = [*sentences(report), *report["reasons"]]
        card["considerations"] = {"performanceTradeoffs": tradeoffs}
    return card


def _dataset(data: DatasetVersion) -> dict[str, Any]:
    counts = [
        _property(f"images:{side}:{name}", count)
        for name, sides in data["counts"].items()
        for side, count in sides.items()
    ]
    return {
        "type": "dataset",
        "name": f"{data['dataset']}, version {data['number']}",
        "contents": {
            "properties": [
                _property("sha256", data["digest"]),
                _property("images", data["images"]),
                *counts,
            ]
        },
    }


def _metrics(one: Ruling) -> Iterator[dict[str, Any]]:
    """Yield the accuracy, where there is one, and how it has changed, as fractions of 1."""
    name = f"{measure_of(one)}: {one['name']}"
    if one["disagreements"] is None and one["count"]:
        accuracy = one["right"] / one["count"]
        yield {"type": "accuracy", "value": f"{accuracy:.6g}", "slice": name}
    yield {
        "type": f"change of accuracy against the {one['baseline']} ({one['outcome']})",
        "value": f"{one['difference']:+.6g}",
        "slice": name,
        "confidenceInterval": {
            "lowerBound": f"{one['interval_lower']:+.6g}",
            "upperBound": f"{one['upper']:+.6g}",
        },
    }


def _property(name: str, value: object) -> dict[str, str]:
    text = value if isinstance(value, str) else json.dumps(value)
    return {"name": f"perennial:{name}", "value": text}
