"""Advice on class names that are in use already."""

from core.advice.findings import Severity, name_findings


def test_new_names_give_no_finding() -> None:
    assert not list(name_findings(["boot"], learned=["bag"], suites={"pets": ["cat"]}))


def test_names_that_were_learned_before_are_listed() -> None:
    same, respelt = name_findings(["Bag", "boot", "hat"], learned=["bag", "boot"], suites={})
    assert (same.code, same.severity) == ("class_learned_before", Severity.INFO)
    assert same.message == (
        "These classes were learned before and are taught again: boot. "
        "Rename those that now mean something else."
    )
    assert same.facts == {"classes": ["boot"]}
    assert (respelt.code, respelt.severity) == ("class_differs_in_case", Severity.WARNING)
    assert respelt.message == (
        "These classes differ from classes learned before only in case: Bag (bag). Each pair has "
        "the same prompt and counts as one class: use one spelling, or rename those that mean "
        "something else."
    )
    assert respelt.facts == {"classes": {"Bag": "bag"}}


def test_names_in_suites_are_listed_suite_by_suite() -> None:
    suites = {"pets": ["cat", "dog"], "toys": ["ball"], "wild": ["Cat"]}
    pets, wild = name_findings(["cat", "dog"], learned=(), suites=suites)
    assert (pets.code, pets.severity) == ("class_in_suite", Severity.INFO)
    assert pets.message == (
        "These classes are also in the suite pets: cat, dog. "
        "Rename those that mean something else there."
    )
    assert pets.facts == {"suite": "pets", "classes": ["cat", "dog"]}
    assert wild.code == "class_differs_in_case"
    assert wild.message.startswith(
        "These classes differ from classes of the suite wild only in case: cat (Cat). "
    )
    assert wild.facts == {"suite": "wild", "classes": {"cat": "Cat"}}


def test_a_name_that_is_there_in_the_same_case_too_is_the_same() -> None:
    [found] = name_findings(["cat"], learned=["cat", "Cat"], suites={})
    assert found.code == "class_learned_before"


def test_a_long_list_is_cut_in_the_message_alone() -> None:
    names = [f"c{n}" for n in range(10)]
    [found] = name_findings(names, learned=names, suites={})
    assert "again: c0, c1, c2, c3, c4, c5, c6, c7 and 2 more. " in found.message
    assert found.facts["classes"] == names
