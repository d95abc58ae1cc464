"""A mirror of a model in an MLflow registry: versions, verdicts, reports and aliases.

Each version is a version of the registered model, whose run holds the report as artifacts. What
was mirrored is found again by its tags, so a mirror that was interrupted goes on where it stopped.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from perennial.client import Client
from perennial.errors import JobFailed, ServiceError
from perennial.mlflow.loadable import FORMAT, MLMODEL, may_be_loaded, write_model
from perennial.terminal.session import Failure, sentences
from perennial.types import Report, VersionSummary

PREFIX = "perennial."
MODEL, VERSION, DIGEST, REPORT, FILES, ALIASES = (
    f"{PREFIX}{name}" for name in ("model", "version", "digest", "report", "files", "aliases")
)
NONE = "none"
LONGEST_TAG = 5000  # of MLflow
NUMBER = re.compile(r"[1-9][0-9]{0,8}")  # of a version; a tag may hold anything
MISSING, PRESENT = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The changes in MLflow that a look at the service has made."""

    versions: int
    reports: int
    models: int
    aliases: int

    @property
    def told(self) -> str:
        """The changes in words."""
        counts = f"{self.versions} new versions, {self.reports} reports, {self.models} models"
        return f"{counts}, {self.aliases} aliases moved."


class Mirror:
    """A model of the service, and the registered model that shows it."""

    def __init__(
        self,
        service: Client,
        registry: MlflowClient,
        model: str,
        name: str,
        *,
        loadable: bool = False,
    ) -> None:
        """Mirror a model under a name; `loadable`, versions that may go live with their files."""
        self._service = service
        self._registry = registry
        self._model = model
        self._name = name
        self._loadable = loadable
        self._given_up = set[int]()  # versions that cannot be exported

    def update(self) -> Changes:
        """Bring MLflow to what the service says now. Raises Failure if the name is another's.

        A version whose files cannot be made keeps nothing else from being mirrored: the JobFailed
        or ServiceError of the last such version is raised at the end.
        """
        # Read first: a version that they point at is then among those that are listed.
        wanted = self._service.models.get(self._model)["aliases"]
        self._require_own_name()
        there = mirrored_versions(self._registry, self._name)
        made = reports = models = 0
        failed: JobFailed | ServiceError | None = None
        for version in self._service.versions.list(self._model):
            found = there.get(version["version"])
            if found is None:
                found = there[version["version"]] = self._add(version)
                made += 1
            reports += self._describe(version, found)
            if self._loadable and may_be_loaded(version, wanted):
                try:
                    models += self._add_model(version, found)
                except (JobFailed, ServiceError) as error:
                    failed = error
                    if isinstance(error, JobFailed) or not error.retryable:
                        self._given_up.add(version["version"])  # it would fail again
        moved = self._move_aliases(wanted, there)
        if failed is not None:
            raise failed
        return Changes(versions=made, reports=reports, models=models, aliases=moved)

    def _require_own_name(self) -> None:
        """Make the registered model unless it is there as this model's mirror."""
        try:
            found = self._registry.get_registered_model(self._name)
        except MlflowException as error:
            if error.error_code != MISSING:
                raise
            self._registry.create_registered_model(
                self._name,
                tags={MODEL: self._model},
                description=f"Mirrored from the model {self._model} of Perennial.",
            )
            return
        if found.tags.get(MODEL) != self._model:
            raise Failure(
                f"MLflow has a registered model {self._name} that is no mirror of {self._model}: "
                "choose another name with --name."
            )

    def _add(self, version: VersionSummary) -> Any:
        """Return a new version of the registered model, with a run for its artifacts."""
        number, tags = version["version"], tags_of(version)
        experiment = self._experiment()
        runs = self._registry.search_runs(
            [experiment],
            f"tags.`{DIGEST}` = '{version['digest']}' and tags.`{VERSION}` = '{number}'",
        )
        run = (
            runs[0]
            if runs
            else self._registry.create_run(
                experiment, tags=tags, run_name=f"{self._model}:{number}"
            )
        )
        self._registry.update_run(run.info.run_id, status="FINISHED")  # which prints nothing
        return self._registry.create_model_version(
            self._name, source=run.info.artifact_uri, run_id=run.info.run_id, tags=tags
        )

    def _experiment(self) -> str:
        """Return the id of the experiment whose runs hold the artifacts."""
        name = f"perennial/{self._name}"
        found = self._registry.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._registry.create_experiment(name))

    def _describe(self, version: VersionSummary, found: Any) -> bool:
        """Set what has changed of a version's tags, and return whether its report was written."""
        for key, value in tags_of(version).items():
            if found.tags.get(key) != value:
                self._registry.set_model_version_tag(self._name, found.version, key, value)
        report = self._report(version["version"])
        if report is None:
            return False
        text = json.dumps(report, indent=1, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        if found.tags.get(REPORT) == digest:
            return False
        page = self._service.versions.report_page(self._model, version["version"])
        self._registry.log_text(found.run_id, text, "report.json")
        self._registry.log_text(found.run_id, page, "report.html")
        self._registry.update_model_version(self._name, found.version, " ".join(sentences(report)))
        # Last, so that a report that was interrupted is written again.
        self._registry.set_model_version_tag(self._name, found.version, REPORT, digest)
        return True

    def _add_model(self, version: VersionSummary, found: Any) -> bool:
        """Add what MLflow loads, unless it is there, and return whether it was added.

        Raises JobFailed or ServiceError if the version cannot be exported.
        """
        if FILES in found.tags or version["version"] in self._given_up:
            return False
        with tempfile.TemporaryDirectory() as temporary:
            write_model(self._service, version, Path(temporary))
            # `MLmodel` last: without it, what was interrupted is no model.
            for entry in sorted(Path(temporary).iterdir(), key=lambda entry: entry.name == MLMODEL):
                if entry.is_dir():
                    self._registry.log_artifacts(found.run_id, str(entry), entry.name)
                else:
                    self._registry.log_artifact(found.run_id, str(entry))
        self._registry.set_model_version_tag(self._name, found.version, FILES, FORMAT)
        return True

    def _report(self, version: int) -> Report | None:
        try:
            return self._service.versions.report(self._model, version)
        except ServiceError as error:
            if error.code != "report_not_found":
                raise
            return None

    def _move_aliases(self, wanted: Mapping[str, int], there: dict[int, Any]) -> int:
        """Point the aliases where the service's point, and return how many have moved.

        Aliases that MLflow alone has stay as they are; one that the service no longer has goes.
        """
        found = self._registry.get_registered_model(self._name)
        at = {alias: str(number) for alias, number in found.aliases.items()}
        moved = 0
        for alias, number in wanted.items():
            version = there.get(number)  # None if it was deleted meanwhile: the next look sees
            if version is not None and at.get(alias) != str(version.version):
                self._registry.set_registered_model_alias(self._name, alias, str(version.version))
                moved += 1
        for alias in set(filter(None, found.tags.get(ALIASES, "").split(","))) - wanted.keys():
            if alias in at:
                self._registry.delete_registered_model_alias(self._name, alias)
                moved += 1
        if found.tags.get(ALIASES) != (names := ",".join(sorted(wanted))):
            self._registry.set_registered_model_tag(self._name, ALIASES, names)
        return moved


def mirrored_versions(registry: MlflowClient, name: str) -> dict[int, Any]:
    """Return MLflow's versions of a registered model by the numbers that they mirror."""
    found = ((number_of(one), one) for one in _versions(registry, name))
    return {number: one for number, one in found if number is not None}


def number_of(version: Any) -> int | None:
    """Return the number that a version of MLflow mirrors; None if no tag says so."""
    told = version.tags.get(VERSION, "")
    return int(told) if NUMBER.fullmatch(told) else None


def _versions(registry: MlflowClient, name: str) -> Iterator[Any]:
    token = None
    while True:
        page = registry.search_model_versions(f"name = '{name}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def tags_of(version: VersionSummary) -> dict[str, str]:
    """Return the tags of a version."""
    facts = {
        "version": version["version"],
        "digest": version["digest"],
        "status": version["status"],
        "verdict": version["verdict"],
        "parent": version["parent"],
        "dataset": version["dataset"] and f"{version['dataset']}:{version['dataset_version']}",
        "precision": version["precision"],
        "classes": ", ".join(version["update_classes"]),
    }
    return {f"{PREFIX}{name}": str(value or NONE)[:LONGEST_TAG] for name, value in facts.items()}
