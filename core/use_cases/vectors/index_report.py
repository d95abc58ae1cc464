"""The report on an index of old vectors: searches in it, the bridge, and the verdict."""

import json
from collections.abc import Sequence
from typing import Any

from core.domain.registry.version import Model, Version
from core.domain.values import Digest, Json
from core.domain.vectors.compatibility import (
    DEPTH,
    LEAST_QUERIES,
    TOLERANCE,
    Loss,
    SearchMeasure,
    judge_index,
    measure_search,
)
from core.domain.vectors.embedding_map import EmbeddingMap
from core.domain.vectors.stored_vectors import IndexReport
from core.ports import IndexComparison, Platform


def index_report(
    model: Model, version: Version, baseline: Version, found: IndexComparison, bridge: Digest
) -> dict[str, Any]:
    """Return the report as JSON."""
    measures = [measure_search(recalls) for recalls in found.searches]
    verdict, reason = judge_index(measures)
    return {
        "model": model.name,
        "version": version.number,
        "digest": version.digest,
        "from": baseline.number,
        "from_digest": baseline.digest,
        "verdict": verdict.value,
        "reason": reason,
        "depth": DEPTH,
        "tolerance": TOLERANCE,
        "least_queries": LEAST_QUERIES,
        "bridge": {
            "artifact": bridge,
            "size": len(found.bridge.file),
            "kind": found.bridge.kind,
            "images": found.bridge.images,
            "scores": dict(found.bridge.scores),
        },
        "searches": [_search(measure) for measure in measures],
        "vectors": [dict(vars(vectors)) for vectors in found.vectors],
        "maps": [one.to_json() for one in found.maps],
    }


def read_index_report(platform: Platform, report: IndexReport) -> Json:
    """Return the JSON of a stored report. Raises ArtifactMissing or ArtifactCorrupt."""
    found: Json = json.loads(platform.artifacts.get(report.report))
    return found


def embedding_maps(
    platform: Platform, model: str, version: int, baseline: int
) -> tuple[Model, IndexReport, Sequence[EmbeddingMap]]:
    """Return the maps of a report, none for one that an earlier release made.

    Raises ModelNotFound, VersionNotFound, IndexReportNotFound, ArtifactMissing or ArtifactCorrupt.
    """
    with platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        number = work.versions.get(found.id, version).number
        report = work.index_reports.get(found.id, number, baseline)
    maps = read_index_report(platform, report).get("maps", ())
    return found, report, [EmbeddingMap.from_json(one) for one in maps]


def _search(measure: SearchMeasure) -> dict[str, Any]:
    return {
        "suite": measure.suite,
        "search": measure.search.value,
        "queries": measure.queries,
        "judged": measure.judged,
        "raw": measure.raw,
        "bridged": measure.bridged,
        "reembedded": measure.reembedded,
        "raw_loss": _loss(measure.raw_loss),
        "bridged_loss": _loss(measure.bridged_loss),
    }


def _loss(loss: Loss) -> dict[str, float]:
    return {"value": loss.value, "lower": loss.interval.lower, "upper": loss.interval.upper}
