"""The newest version of a dataset, which commands take by default."""

from perennial.client import Client
from perennial.terminal.failures import Failure


def newest_version(client: Client, dataset: str) -> int:
    """Return the number of a dataset's newest version. Raises Failure if it has none."""
    numbers = [version["number"] for version in client.datasets.versions(dataset)]
    if not numbers:
        raise Failure(
            f"The dataset {dataset} has no version: run `perennial dataset freeze {dataset}`."
        )
    return numbers[-1]
