"""The facts that the service knows of a version, for all that is written beside its files."""

from dataclasses import dataclass

from perennial.client import Client
from perennial.errors import ServiceError
from perennial.types import DatasetVersion, Report, Version

TASK = "zero-shot-image-classification"  # as hubs name it

# Licences that hubs name by their identifier of SPDX in small letters.
_OF_SPDX = (
    "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "MPL-2.0", "GPL-3.0", "AGPL-3.0",
    "LGPL-3.0", "Unlicense", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0", "CC-BY-NC-ND-4.0",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A version, its root, its report and its data, and what its publisher says of it."""

    version: Version
    root: Version
    report: Report | None  # roots have none
    data: DatasetVersion | None  # None also if the dataset was deleted since
    licence: str  # as the hub writes it, such as apache-2.0
    base: str | None  # where the root comes from, as the hub names models

    @property
    def spdx(self) -> str | None:
        """The identifier of its licence in SPDX; None if it is not one of the usual ones."""
        return next((one for one in _OF_SPDX if one.lower() == self.licence.lower()), None)

    @property
    def name(self) -> str:
        """The version as commands name it."""
        return f"{self.version['model']}:{self.version['version']}"


def read_facts(
    client: Client, model: str, version: int, *, licence: str, base: str | None
) -> Facts:
    """Return the facts of a version."""
    found = client.versions.get(model, version)
    report = _report(client, found)
    root = report["root"] if report else version
    return Facts(
        version=found,
        root=found if root == version else client.versions.get(model, root),
        report=report,
        data=_data(client, found),
        licence=licence,
        base=base,
    )


def _report(client: Client, version: Version) -> Report | None:
    try:
        return client.versions.report(version["model"], version["version"])
    except ServiceError as error:
        if error.code != "report_not_found":
            raise
        return None


def _data(client: Client, version: Version) -> DatasetVersion | None:
    name, number = version["dataset"], version["dataset_version"]
    if name is None:
        return None
    try:
        versions = client.datasets.versions(name)
        return next((one for one in versions if one["number"] == number), None)
    except ServiceError as error:
        if error.code != "dataset_not_found":
            raise
        return None
