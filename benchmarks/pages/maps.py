"""A made-up map of embeddings, with as many points as a map may have."""

from random import Random

from benchmarks.pages.made import BEGAN, digest_of
from core.domain.values import Digest, JobId, ModelId, canonical_json
from core.domain.vectors.embedding_map import DIGITS, MOST_POINTS, EmbeddingMap, MappedImage
from core.domain.vectors.stored_vectors import IndexReport
from core.ports import Platform


def add_map(
    platform: Platform, model: ModelId, version: int, suite: str, images: int, job: str
) -> None:
    """Store the report of a version on the index of the one before, with a map of a suite."""
    report = {"maps": [_map(suite, images).to_json()]}
    with platform.transactions() as work:
        work.index_reports.put(
            IndexReport(
                model=model,
                version=version,
                baseline=version - 1,
                report=platform.artifacts.put(canonical_json(report)),
                bridge=digest_of("bridge"),
                sources=(),
                job=JobId(job),
                created_at=BEGAN,
            )
        )
        work.commit()


def _map(suite: str, images: int) -> EmbeddingMap:
    draw = Random(suite)
    points = [
        tuple(round(draw.gauss(number % 10, 1.0), DIGITS) for _ in range(4))
        for number in range(MOST_POINTS)
    ]
    return EmbeddingMap(
        suite=suite,
        count=images,
        explained=(0.4, 0.2),
        images=tuple(
            MappedImage(
                pixels=Digest(digest_of(f"{suite} {number}")),
                class_name=f"class {number % 50}",
                before=(a, b),
                now=(c, d),
            )
            for number, (a, b, c, d) in enumerate(points)
        ),
    )
