"""Keys that may read metrics while the database is down."""

from api.http.authentication import KNOWN_S, MOST, KnownScrapers
from tests.support.factories import TESTER


def test_a_key_is_known_for_a_while_after_it_was_last_accepted() -> None:
    now = [0.0]
    scrapers = KnownScrapers(lambda: now[0])
    scrapers.remember("a", TESTER)
    assert (scrapers.find("a"), scrapers.find("b")) == (TESTER, None)
    now[0] = KNOWN_S
    assert scrapers.find("a") is None
    scrapers.remember("a", TESTER)
    assert scrapers.find("a") == TESTER


def test_few_keys_are_known_the_latest() -> None:
    scrapers = KnownScrapers()
    for number in range(MOST):
        scrapers.remember(f"{number}", TESTER)
    scrapers.remember("0", TESTER)
    scrapers.remember("another", TESTER)
    assert (scrapers.find("0"), scrapers.find("1")) == (TESTER, None)
