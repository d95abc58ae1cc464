"""The preparation for the first update: the suites, the policy and the model."""

from collections.abc import Sequence

from demo import pack_reader, recipes
from demo.pack_reader import PackImage
from demo.show import Show
from perennial import Client
from perennial.types.datasets import DatasetKind, DatasetVersion
from perennial.types.evaluation.suites import SuiteKind

MODEL = "demo"
POLL_S = 0.3


def create_model(client: Client, show: Show) -> None:
    """Create the suites from the pack, the small model's policy and the model."""
    suites: tuple[tuple[str, SuiteKind, DatasetKind, list[PackImage]], ...] = (
        ("emoji", "zero_shot", "labelled", pack_reader.named("twemoji")),
        ("captions", "retrieval", "captioned", pack_reader.captioned("twemoji")),
    )
    for name, kind, dataset_kind, images in suites:
        upload(client, show, name, dataset_kind, images)
        client.suites.create(
            name, kind=kind, dataset=name, dataset_version=1, prompt=recipes.PROMPT
        )
    policy = client.policies.create(**recipes.POLICY)
    names = [name for name, *_ in suites]
    job = client.models.create(MODEL, base="bundled", suites=names, policy=policy["name"])
    with show.progress("Import the bundled model") as on_poll:
        client.jobs.wait(job["id"], on_poll, every=POLL_S)
    show.note(f"demo@production is version {client.aliases.get(MODEL)['version']}")


def upload(
    client: Client, show: Show, name: str, kind: DatasetKind, images: Sequence[PackImage]
) -> DatasetVersion:
    """Upload images to a new dataset and freeze it as version 1."""
    client.datasets.create(name, kind=kind)
    pairs = ((image.text, image.file) for image in images)
    with show.counter(f"Upload {name}", len(images)) as on_batch:
        client.datasets.upload(name, pairs, on_batch)
    version = client.datasets.freeze(name)
    show.note(f"{name}: {version['images']:,} images uploaded and frozen as version 1")
    return version
