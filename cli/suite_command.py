"""`perennial suite`: a suite from a folder, through the same decoder and rules as an upload."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from cli.suite_folder import FolderImage, read_folder
from core import bootstrap
from core.domain.access.principal import COMMAND_LINE
from core.domain.datasets.dataset import Dataset, DatasetKind
from core.domain.datasets.suite import SuiteKind
from core.domain.recipes.prompt import PromptTemplate
from core.errors import AllRejected, DatasetNotFound, FieldInvalid, NameTaken, SuiteNotFound
from core.ports import Decoder, Platform
from core.settings import Settings
from core.use_cases.datasets.datasets import create_dataset, receive_file
from core.use_cases.datasets.freeze import freeze_version
from core.use_cases.datasets.record_uploads import record_uploads
from core.use_cases.datasets.suites import add_suite, create_suite

BATCH = 50


def make_suite(
    settings: Settings, *, name: str, folder: Path, kind: SuiteKind, prompt: str, model: str | None
) -> int:
    """Read a folder into a dataset, freeze it and make the suite; return the exit code.

    Images already in the dataset are skipped, so that the command can be run again.
    """
    console = Console(highlight=False, markup=False)
    template = PromptTemplate(prompt)
    images = read_folder(folder, kind)
    bootstrap.migrate(settings)
    with ExitStack() as stack:
        platform = bootstrap.build(settings).on_behalf_of(COMMAND_LINE)
        stack.callback(bootstrap.close, platform)
        _require_free(platform, name)
        decoder = stack.enter_context(closing(bootstrap.decoder(settings)))
        dataset = _find_or_create_dataset(platform, name, kind.dataset_kind)
        outcomes = _receive(platform, decoder, dataset, images)
        console.print(
            ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        )
        version = freeze_version(platform, dataset.id)
        suite = create_suite(
            platform,
            name=name,
            kind=kind,
            dataset=dataset.id,
            dataset_version=version.number,
            prompt=template,
        )
        if model is not None:
            add_suite(platform, model, suite)
    scored = f"; added to the model {model}" if model else ""
    console.print(
        f"Suite {suite.name}: {suite.images} images, {len(suite.classes)} classes{scored}."
    )
    return 0


def _require_free(platform: Platform, name: str) -> None:
    """Raise NameTaken if the suite exists, before any image is read."""
    try:
        with platform.transactions(read_only=True) as work:
            work.suites.get(name)
    except SuiteNotFound:
        return
    raise NameTaken(f"There is already a suite {name}, and suites cannot be changed.")


def _find_or_create_dataset(platform: Platform, name: str, kind: DatasetKind) -> Dataset:
    try:
        with platform.transactions(read_only=True) as work:
            found = work.datasets.get(name)
    except DatasetNotFound:
        return create_dataset(platform, name, kind)
    if found.kind is not kind:
        raise FieldInvalid(f"There is already a dataset {name}, of kind {found.kind.value}.")
    return found


def _receive(
    platform: Platform, decoder: Decoder, dataset: Dataset, images: Sequence[FolderImage]
) -> Counter[str]:
    """Add the images to the dataset, one transaction per batch; return counts by outcome."""
    error_console = Console(stderr=True, highlight=False, markup=False)
    outcomes: Counter[str] = Counter()
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    for batch in track(batches, description="Reading images", console=error_console):
        receipts = _receive_batch(platform, decoder, dataset, batch)
        for image, receipt in zip(batch, receipts, strict=True):
            outcomes[receipt["outcome"]] += 1
            if receipt["error"]:
                error_console.print(f"{image.path}: {receipt['error']['detail']}", soft_wrap=True)
    return outcomes


def _receive_batch(
    platform: Platform, decoder: Decoder, dataset: Dataset, images: Sequence[FolderImage]
) -> list[dict[str, Any]]:
    uploads = [
        receive_file(
            platform.artifacts.put,
            decoder,
            dataset.kind,
            text=image.text,
            file_name=image.path.name,
            data=image.path.read_bytes(),
        )
        for image in images
    ]
    try:
        receipts = record_uploads(platform, decoder, dataset, uploads)
    except AllRejected as rejected:
        rows: list[dict[str, Any]] = list(rejected.facts["files"])  # type: ignore[call-overload]
        return rows
    return [receipt.to_json() for receipt in receipts]
