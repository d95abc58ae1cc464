"""Resolve references, and read what versions, their lines and their models have stored."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core import errors
from core.artifacts.store import Artifacts
from core.database.work import Work
from core.datasets.freeze import read_manifest, read_remaining, without_erased
from core.datasets.manifests import ManifestEntry
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetRef, Suite
from core.datasets.thumbnail_rows import Splits
from core.datasets.version_rows import Suites
from core.images.inputs import ImageInput
from core.recipes.fields import DEFAULT_PROMPT, PromptTemplate
from core.recipes.rules import distinct
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION, Alias
from core.registry.inheritance import places
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version, Weights
from core.values import Digest, Json, ModelId, SuiteId


def resolve(work: Work, reference: str) -> tuple[Model, Version]:
    """Return the version that `name`, `name@alias`, `name:7` or `name@sha256:...` means now.

    A bare name means the alias `production`; `name:7@sha256:...` is version 7, if it has the
    digest. Raises ModelNotFound, AliasNotFound or VersionNotFound.
    """
    model, version, _ = locate(work, reference)
    return model, version


def locate(work: Work, reference: str) -> tuple[Model, Version, Alias | None]:
    """Return what `resolve` does and, if the reference names an alias, that alias."""
    if "@sha256:" in reference:
        name, digest = reference.split("@sha256:", 1)
        if ":" in name:
            model, version = resolve(work, name)
            if version.digest != digest:
                raise errors.VersionNotFound(reference=reference)
            return model, version, None
        model = work[Models].get(name)
        return model, work[Versions].by_digest(model.id, Digest(digest)), None
    if "@" in reference:
        name, alias = reference.split("@", 1)
        model = work[Models].get(name)
        found = work[Aliases].get(model.id, alias)
        return model, work[Versions].get(model.id, found.version), found
    if ":" in reference:
        name, number = reference.split(":", 1)
        model = work[Models].get(name)
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            raise errors.VersionNotFound(reference=reference)
        return model, work[Versions].get(model.id, int(number)), None
    return locate(work, f"{reference}@{PRODUCTION}")


def learned_classes(work: Work, model: str, alias: str) -> tuple[Model, Version, dict[str, int]]:
    """Return the version behind an alias, and what it has learned: the last teacher of each class.

    Raises ModelNotFound or AliasNotFound.
    """
    found = work[Models].get(model)
    live = work[Versions].get(found.id, work[Aliases].get(found.id, alias).version)
    line = [*ancestors(work, live), live]
    taught = {name.lower(): step.number for step in line for name in step.update_classes}
    return found, live, {name: taught[name.lower()] for name in live.classes}


def suite_to_show(work: Work, reference: str) -> Suite:
    """Return a suite by name or id; what joined a holdout is shown to whom its model is.

    Raises SuiteNotFound.
    """
    found = work[Suites].get(reference)
    try:
        if found.model is not None:
            work[Models].get(found.model)
    except errors.ModelNotFound as error:
        raise errors.SuiteNotFound(suite=reference) from error
    return found


def suites_of(work: Work, model: Model) -> tuple[Suite, ...]:
    """Return the suites a model is scored by, in the order they were given."""
    return tuple(work[Suites].get(suite) for suite in model.suites)


def open_classes_of(work: Work, model: Model) -> tuple[str, ...]:
    """All class names of a model's zero-shot suites, each once whatever its case, in order."""
    return distinct(name for suite in suites_of(work, model) for name in suite.classes)


# A version's line: its ancestors, its root, and what each update held out.


def usual_prompt(work: Work) -> PromptTemplate:
    """Return the prompt of all models' roots if they have the same, else the default."""
    prompts = list(work[Models].prompts())
    return PromptTemplate(prompts[0]) if len(prompts) == 1 else DEFAULT_PROMPT


def ancestors(work: Work, version: Version) -> list[Version]:
    """Return the versions a version was trained from, root first; empty for a root."""
    line: list[Version] = []
    parent = version.parent
    while parent is not None:
        line.append(work[Versions].get(version.model, parent))
        parent = line[-1].parent
    return line[::-1]


def parent_for_retraining(work: Work, model: ModelId, number: int) -> Version:
    """Return the version that another one's update is repeated from.

    That is its parent, or the newest version that replaces it. Raises VersionNotFound, or
    ParentNotRetrained while there is none that erased images have left as it is.
    """
    parent = work[Versions].get(model, number).parent
    found = work[Versions].get(model, parent, lock=True) if parent is not None else None
    while found is not None and found.erasure is not None:
        found = work[Versions].replacement(model, found.number)
    if found is None:
        raise errors.ParentNotRetrained(version=number, parent=parent)
    return work[Versions].get(model, found.number, lock=True)


def holdout_of(work: Work, artifacts: Artifacts, version: Version) -> tuple[ManifestEntry, ...]:
    """Return the images of classes held out of the update that made a version, but erased ones.

    Those that the split itself would not hold out are left out, too. Empty for a root, and for an
    update of captions.
    """
    return holdouts_of(work, artifacts, [version])[0]


def holdouts_of(
    work: Work, artifacts: Artifacts, versions: Sequence[Version]
) -> list[tuple[ManifestEntry, ...]]:
    """Return what `holdout_of` returns for each version; what was erased is asked once."""
    return _without_erased(
        work, [_held_out(work, artifacts, version.classed_data) for version in versions]
    )


def captions_held_out_of(
    work: Work, artifacts: Artifacts, versions: Sequence[Version]
) -> list[tuple[ManifestEntry, ...]]:
    """Return the captioned images held out of the update that made each version, but erased."""
    return _without_erased(
        work, [_held_out(work, artifacts, version.captioned_data) for version in versions]
    )


def _without_erased(
    work: Work, held: Sequence[tuple[ManifestEntry, ...]]
) -> list[tuple[ManifestEntry, ...]]:
    left = {entry.pixels for entry in without_erased(work, [one for each in held for one in each])}
    return [tuple(entry for entry in each if entry.pixels in left) for each in held]


def _held_out(
    work: Work, artifacts: Artifacts, taught: DatasetRef | None
) -> tuple[ManifestEntry, ...]:
    if taught is None:
        return ()
    frozen = work[Datasets].version(taught.dataset, taught.version)
    return read_manifest(artifacts, frozen.manifest).drawn_holdout(work[Splits].get())


def added_images(
    work: Work, model: ModelId, editions: Iterable[SuiteId] | None = None
) -> Mapping[int, Suite]:
    """Return the images that were added to the holdouts of a model's versions, by number.

    Without `editions`, they are the newest. A version that was trained again without erased images
    has those of the one that it replaces.
    """
    if editions is None:
        held = work[Suites].held_out(model)
    else:
        suites = (work[Suites].get(one) for one in editions)
        held = {one.version: one for one in suites if one.version is not None}
    if not held:
        return {}
    found = places(work[Versions].descents(model))
    return {number: held[place] for number, place in found.items() if place in held}


def added_to_line(work: Work, version: Version) -> list[SuiteId]:
    """Return the images that were added to the holdouts of a version's ancestors."""
    added = added_images(work, version.model)
    line = ancestors(work, version) if added else []
    return [added[one.number].id for one in line if one.number in added]


def read_added(
    work: Work, artifacts: Artifacts, added: Mapping[int, Suite], version: Version
) -> tuple[ManifestEntry, ...]:
    """Return the images that were added to a version's holdout, except erased ones."""
    suite = added.get(version.number)
    return read_remaining(work, artifacts, suite.manifest).entries if suite else ()


def grown_holdouts_of(
    work: Work, artifacts: Artifacts, versions: Sequence[Version]
) -> list[tuple[ManifestEntry, ...]]:
    """Return what `holdouts_of` returns for versions of a model, with what was added since."""
    added = added_images(work, versions[0].model) if versions else {}
    held = holdouts_of(work, artifacts, versions)
    return [
        (*images, *read_added(work, artifacts, added, version))
        for version, images in zip(versions, held, strict=True)
    ]


# What a version has stored.


def read_json(artifacts: Artifacts, digest: Digest | None) -> Any:
    """Return the JSON of an artifact; None if there is none, or its bytes are gone or damaged."""
    if digest is None:
        return None
    try:
        return json.loads(artifacts.get(digest))
    except (errors.ArtifactMissing, errors.ArtifactCorrupt):
        return None


LEARNED_ERASED = "It may not go live: it learned from images that were erased since."


def report_digest(version: Version, stored: Digest | None = None) -> Digest:
    """Return the artifact of a version's report, or the one `stored` with another verdict on it.

    Raises ReportNotFound (root) or EvaluationPending.
    """
    stored = stored or version.report
    if version.is_root:
        raise errors.ReportNotFound(
            f"Version {version.number} is the root: the base as it was imported, before any "
            "update. It was taught nothing and replaced nothing, so it has no report. Those of "
            "later versions compare with it.",
            version=version.number,
        )
    if stored is None:
        raise errors.EvaluationPending(version=version.number)
    return stored


def read_report(artifacts: Artifacts, version: Version, stored: Digest | None = None) -> Json:
    """Return the report of `report_digest`, which raises the same errors.

    Its summary says so if the version may not go live because it learned from erased images.
    """
    report: Json = json.loads(artifacts.get(report_digest(version, stored)))
    if version.erasure is not None and "summary" in report:
        report["summary"]["go_live"] = LEARNED_ERASED
    return report


def scores_of(artifacts: Artifacts, report: Digest | None) -> Json:
    """Return the facts of a refusal to promote: the measures that were judged, and why.

    Empty if the report's bytes are missing or damaged; the verdict holds without them.
    """
    found = read_json(artifacts, report)
    return {name: found[name] for name in ("measures", "reasons")} if found else {}


def require_weights(artifacts: Artifacts, version: Version) -> None:
    """Raise ArtifactGone or ArtifactCorrupt unless every byte of a version is there."""
    version.require_weights()
    if not artifacts.has(version.digest):
        raise errors.ArtifactGone(version=version.number)
    for tensor in Weights.from_bytes(artifacts.get(version.digest)).tensors:
        try:
            artifacts.verify(tensor.digest)
        except errors.ArtifactMissing as error:
            raise errors.ArtifactGone(version=version.number, tensor=tensor.name) from error


# The input of a version's image tower, without loading the version.

KNOWN = 1000  # versions


class ImageInputs:
    """Inputs by a version's digest, which they never change under; safe to share between threads.

    Those read first are forgotten first.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._known: dict[Digest, ImageInput] = {}

    def known(self, digest: Digest) -> ImageInput | None:
        """Return a version's input if it has been read before, and is not forgotten."""
        return self._known.get(digest)

    def of(self, digest: Digest) -> ImageInput:
        """Return a version's input. Raises NotServable without weights, or ArtifactCorrupt."""
        found = self.known(digest)
        if found is None:
            found = self._read(digest)
            for oldest in list(self._known)[: max(0, len(self._known) - KNOWN + 1)]:
                self._known.pop(oldest, None)
            self._known[digest] = found
        return found

    def _read(self, digest: Digest) -> ImageInput:
        try:
            data = self._artifacts.get(digest)
        except errors.ArtifactMissing as fault:
            raise errors.NotServable from fault
        return ImageInput.of(Weights.from_bytes(data).config)
