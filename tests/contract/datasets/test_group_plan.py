"""Asking for a few groups looks their images up by indexes, however many there are."""

from typing import Any

from sqlalchemy import event, text

from core.database.engine import open_engine
from core.datasets.manifests import Manifest, ManifestEntry
from core.datasets.rows import keep_images
from core.datasets.rules import DatasetKind, Image
from core.datasets.thumbnail_rows import ThumbnailCache, Thumbnails
from core.datasets.version_rows import Suites
from tests.support.factories import a_suite, an_image, digest

ROWS = 5000

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}


def images_in_groups_of(size: int) -> list[Image]:
    """ROWS images; the first of each group is its oldest."""
    return [
        an_image(digest(n), near_duplicate_of=digest(n - n % size) if n % size else None)
        for n in range(ROWS)
    ]


def test_asking_for_groups_never_reads_through_all_images(url: str) -> None:
    made = images_in_groups_of(3)
    entries = tuple(
        ManifestEntry(pixels=image.pixels, artifact=image.artifact, texts=("cat",))
        for image in made[1:]
    )
    engine = open_engine(url)
    asked: list[tuple[str, Any]] = []
    with engine.begin() as connection:
        keep_images(connection, made)
        Thumbnails(connection, ThumbnailCache()).add([(image, "00") for image in made])
        Suites(connection).add(a_suite(), Manifest(kind=DatasetKind.LABELLED, entries=entries))
        connection.execute(text("ANALYZE"))

        @event.listens_for(connection, "before_cursor_execute")
        def note(_one: Any, _cursor: Any, statement: str, values: Any, *_rest: Any) -> None:
            asked.append((statement, values))

        known = {made[0].group, made[-1].group}
        assert Suites(connection).contains({*known, digest("unknown")}) == known
        ((statement, values),) = asked
        rows = connection.exec_driver_sql(EXPLAIN[engine.dialect.name] + statement, values)
        plan = "\n".join(str(row) for row in rows)
    engine.dispose()
    for scan in ("SCAN suite_images", "SCAN thumbnails", "Seq Scan"):
        assert scan not in plan, plan
