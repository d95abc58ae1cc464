"""Advice on class names that are in use already."""

from collections.abc import Iterator, Mapping, Sequence

from core.domain.advice.finding import Finding, Severity, listed


def name_findings(
    classes: Sequence[str], *, learned: Sequence[str], suites: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """Yield which classes were learned before or are in a suite; `suites` are classes by name."""
    same, respelt = _shared(classes, learned)
    if same:
        yield Finding(
            code="class_learned_before",
            severity=Severity.INFO,
            message=f"These classes were learned before and are taught again: {listed(same)}. "
            "Rename those that now mean something else.",
            facts={"classes": same},
        )
    if respelt:
        yield _respelt(respelt, "classes learned before", {})
    for suite, names in suites.items():
        same, respelt = _shared(classes, names)
        if same:
            yield Finding(
                code="class_in_suite",
                severity=Severity.INFO,
                message=f"These classes are also in the suite {suite}: {listed(same)}. "
                "Rename those that mean something else there.",
                facts={"suite": suite, "classes": same},
            )
        if respelt:
            yield _respelt(respelt, f"classes of the suite {suite}", {"suite": suite})


def _shared(
    classes: Sequence[str], others: Sequence[str]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the classes that are among the others, and those that are there in another case."""
    exact = set(others)
    by_prompt = {name.lower(): name for name in others}
    same = [name for name in classes if name in exact]
    respelt = [
        (name, by_prompt[name.lower()])
        for name in classes
        if name not in exact and name.lower() in by_prompt
    ]
    return same, respelt


def _respelt(pairs: Sequence[tuple[str, str]], others: str, facts: Mapping[str, str]) -> Finding:
    shown = listed([f"{name} ({other})" for name, other in pairs])
    return Finding(
        code="class_differs_in_case",
        severity=Severity.WARNING,
        message=f"These classes differ from {others} only in case: {shown}. Each pair has the same "
        "prompt and counts as one class: use one spelling, or rename those that mean something "
        "else.",
        facts={**facts, "classes": dict(pairs)},
    )
