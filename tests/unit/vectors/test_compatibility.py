"""The verdict on an old index: what it loses, and with how many queries that is said."""

import pytest

from core.datasets.manifests import ManifestEntry
from core.errors import SuitesTooSmall
from core.evaluation.queries import RetrievalQuery
from core.gate.intervals import Flips, paired_interval
from core.values import Digest, sha256
from core.vectors.rules import (
    ALPHA,
    IndexVerdict,
    Search,
    SearchedSuite,
    SearchMeasure,
    SearchRecalls,
    images_to_fit,
    judge_index,
    measure_search,
    require_searchable,
)
from tests.support.factories import an_entry

QUERIES = 2000


def search(
    raw: int, bridged: int, queries: int = QUERIES, *, suite: str = "emoji", reembedded: int = 1800
) -> SearchMeasure:
    """A search of so many queries, which find their image in each index so many times."""

    def found(hits: int) -> tuple[float, ...]:
        return (1.0,) * hits + (0.0,) * (queries - hits)

    return measure_search(
        SearchRecalls(
            suite=suite,
            search=Search.TEXT_TO_IMAGE,
            raw=found(raw),
            bridged=found(bridged),
            reembedded=found(reembedded),
        )
    )


def test_losses_are_against_reembedding_and_paired_by_query() -> None:
    one = search(1700, 1840)
    assert (one.raw, one.bridged, one.reembedded) == (0.85, 0.92, 0.9)
    assert one.raw_loss.value == pytest.approx(0.05)
    assert one.bridged_loss.value == pytest.approx(-0.02)
    hits = Flips(count=QUERIES, gained=100, lost=0)
    assert one.raw_loss.interval == paired_interval(hits, ALPHA)


def test_an_interval_has_a_width_even_if_nothing_has_changed() -> None:
    same = search(180, 180, 200, reembedded=180).raw_loss
    assert same.value == 0
    assert same.interval.lower < -0.01
    assert same.interval.upper > 0.01


@pytest.mark.parametrize(
    ("raw", "bridged", "verdict", "words"),
    [
        (
            1780,
            1800,
            IndexVerdict.INDEX_HOLDS,
            "The index holds: against a re-embedded one",
        ),
        (1800, 1000, IndexVerdict.INDEX_HOLDS, "recall@10 does not fall (interval −0.2 to +0.2)"),
        (1700, 1780, IndexVerdict.BRIDGE, "by the bridge: recall@10 falls by 1.0 points"),
        (1760, 1900, IndexVerdict.BRIDGE, "does not fall"),
        (1000, 1700, IndexVerdict.REEMBED, "even with the bridge, recall@10 falls by 5.0 points"),
        (
            1765,
            1700,
            IndexVerdict.UNCERTAIN,
            "falls by 1.8 points (interval −2.4 to −1.3)",
        ),
        (1700, 1755, IndexVerdict.UNCERTAIN, "by the bridge it falls by 2.2 points (interval −3.0"),
        (1700, 1765, IndexVerdict.UNCERTAIN, "re-embed to be sure"),
    ],
)
def test_the_least_work_that_surely_loses_at_most_two_points_is_advised(
    raw: int, bridged: int, verdict: IndexVerdict, words: str
) -> None:
    found, reason = judge_index([search(raw, bridged)])
    assert found is verdict
    assert words in reason


def test_few_queries_that_lose_little_leave_it_uncertain() -> None:
    small = search(98, 98, 100, reembedded=98)
    found, reason = judge_index([small, search(1800, 1800)])
    assert found is IndexVerdict.UNCERTAIN
    assert "does not fall (interval −3.7 to +3.7)" in reason


def test_a_search_that_surely_loses_too_much_decides_over_a_wider_interval() -> None:
    poor, vague = search(1700, 1700, suite="photographs"), search(95, 95, 100, reembedded=98)
    found, reason = judge_index([vague, poor])
    assert found is IndexVerdict.REEMBED
    assert "(text to image on photographs)" in reason


def test_the_worst_search_decides_and_is_named() -> None:
    fine, poor = search(1800, 1800), search(900, 1200, suite="photographs")
    found, reason = judge_index([fine, poor])
    assert found is IndexVerdict.REEMBED
    assert "(text to image on photographs)" in reason


def test_searches_with_few_queries_are_not_judged() -> None:
    few = search(1, 1, 99, reembedded=90)
    assert not few.judged
    assert judge_index([few, search(1800, 1800)])[0] is IndexVerdict.INDEX_HOLDS
    found, reason = judge_index([few])
    assert found is IndexVerdict.UNCERTAIN
    assert "has 100 queries or more" in reason


def entry(number: int) -> ManifestEntry:
    digest = Digest(sha256(str(number).encode()))
    return an_entry(pixels=digest, artifact=digest, texts=("a text",))


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
