"""A model card in Markdown, with the YAML header that hubs read, from the facts of a version."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from perennial.publishing.facts import TASK, Facts
from perennial.terminal.output import accuracies, measure_of, points
from perennial.terminal.session import sentences
from perennial.types import Report

CARD = "README.md"


def model_card(facts: Facts) -> str:
    """Return the card."""
    parts = [
        _header(facts),
        f"# {plain(facts.version['model'])}, version {facts.version['version']}",
        *_verdict(facts),
        "## Load it\n\n```python\nimport open_clip\n\n"
        'model, preprocess = open_clip.create_model_from_pretrained("local-dir:FOLDER")\n'
        'tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")\n```\n\n'
        "From a hub, write `hf-hub:ORGANISATION/NAME` in place of `local-dir:FOLDER`.",
        "## Origin",
        table(("", ""), _origin(facts)),
        *_taught(facts),
        *(_changes(facts.report) if facts.report else ()),
        *_recipe(facts.version["recipe"]),
    ]
    return "\n\n".join(parts) + "\n"


def _header(facts: Facts) -> str:
    """Return the YAML; JSON is YAML, whatever characters it quotes."""
    fields = {
        "license": facts.licence,
        "library_name": "open_clip",
        "pipeline_tag": TASK,
        "tags": ["clip", "perennial"],
        **({"base_model": facts.base} if facts.base else {}),
    }
    lines = (f"{name}: {json.dumps(value)}" for name, value in fields.items())
    return "\n".join(["---", *lines, "---"])


def _verdict(facts: Facts) -> Iterator[str]:
    verdict = facts.version["verdict"]
    yield f"Verdict of the gate: **{verdict or 'none, it was not scored'}**."
    if facts.report:
        yield " ".join(map(plain, sentences(facts.report)))
        yield "\n".join(f"- {plain(reason)}" for reason in facts.report["reasons"])


def _origin(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield names and values of where the version comes from."""
    version, root = facts.version, facts.root
    yield "Digest of the version", f"`{version['digest']}`"
    yield "Made at", version["created_at"]
    if root["version"] != version["version"]:
        yield "Trained from", f"version {version['parent']}"
        yield "Digest of the root", f"`{root['digest']}` (version {root['version']})"
    yield "Base", plain(facts.base) if facts.base else "not named"
    yield "Prompt", plain(version["prompt"])
    yield "Scored and served in", version["precision"]
    yield "Licence", plain(facts.licence)


def _taught(facts: Facts) -> Iterator[str]:
    version, data = facts.version, facts.data
    yield "## Classes and data"
    if version["update_classes"]:
        yield f"This version was taught: {listed(version['update_classes'])}."
    if version["taught_captions"]:
        yield "This version was taught captions."
    if version["classes"]:
        yield f"All that it has learned since the root: {listed(version['classes'])}."
    if version["dataset"] is None:
        yield "No images of its own: it is a root, or has another version's weights."
        return
    named = f"Dataset {plain(version['dataset'])}, version {version['dataset_version']}"
    if data is None:
        yield f"{named}, which was deleted since."
        return
    yield f"{named}: {data['images']:,} images, SHA-256 of the list `{data['digest']}`."
    sides = list(dict.fromkeys(side for count in data["counts"].values() for side in count))
    if sides:
        rows = (
            (plain(name), *(count.get(side, 0) for side in sides))
            for name, count in data["counts"].items()
        )
        yield table(("class", *(f"images, {side}" for side in sides)), rows)


def _changes(report: Report) -> Iterator[str]:
    yield "## What it gained and lost"
    yield table(
        ("measure", "of", "against", "before, %", "now, %", "change", "interval", "outcome"),
        (
            (
                measure_of(one),
                plain(one["name"]),
                one["baseline"],
                *accuracies(one),
                points(one["difference"]),
                f"{points(one['interval_lower'])} to {points(one['upper'])}",
                one["outcome"],
            )
            for one in report["measures"]
        ),
    )
    yield (
        "Changes are in points of accuracy, against the version's parent, its root or what was "
        "live then. Each end of an interval has a one-sided error of "
        f"{report['policy']['alpha']}."
    )
    for name in report["unlabelled"]:
        yield f"{plain(name)} is labelled only where versions disagree, so it tells no accuracy."


def _recipe(recipe: dict[str, Any] | None) -> Iterator[str]:
    if recipe is not None:
        yield "## Recipe"
        rows = ((f"`{name}`", f"`{json.dumps(value)}`") for name, value in recipe.items())
        yield table(("field", "value"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown; cells are Markdown, too."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def listed(names: Iterable[str]) -> str:
    """Return names in a row, as Markdown."""
    return ", ".join(map(plain, names))


_MARKUP = re.compile(r"([\\`*_\[\]<>|~#&$])")


def plain(text: str) -> str:
    """Return Markdown that shows a text as it is, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
