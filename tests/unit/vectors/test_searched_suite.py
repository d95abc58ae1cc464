"""The images of suites that a bridge is fitted on."""

import pytest

from core.datasets.manifests import ManifestEntry
from core.errors import SuitesTooSmall
from core.evaluation.queries import RetrievalQuery
from core.values import Digest, sha256
from core.vectors.rules import SearchedSuite, images_to_fit, require_searchable


def entry(number: int) -> ManifestEntry:
    digest = Digest(sha256(str(number).encode()))
    return ManifestEntry(pixels=digest, artifact=digest, texts=("a text",))


def suite(validation: range, test: range) -> SearchedSuite:
    def query(numbers: range) -> RetrievalQuery | None:
        entries = tuple(map(entry, numbers))
        return RetrievalQuery(entries=entries) if entries else None

    return SearchedSuite(name="pets", validation=query(validation), test=query(test))


def test_images_that_another_suite_searches_are_not_fitted_on() -> None:
    suites = [suite(range(5), range(5, 9)), suite(range(3, 7), range(2)), suite(range(0), range(0))]
    assert images_to_fit(suites) == (entry(2), entry(3), entry(4))


def test_suites_with_too_few_images_are_refused() -> None:
    require_searchable([suite(range(16), range(16, 18)), suite(range(0), range(20, 21))])
    for suites in (
        [],
        [suite(range(15), range(16, 18))],
        [suite(range(16), range(16, 17))],
        [suite(range(16), range(0))],
    ):
        with pytest.raises(SuitesTooSmall):
            require_searchable(suites)
