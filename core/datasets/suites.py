"""Create suites."""

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.freeze import freeze, read_manifest
from core.datasets.manifests import Manifest
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, Suite, SuiteKind
from core.datasets.version_rows import Suites
from core.errors import FieldInvalid, ImageInTraining
from core.platform import Platform
from core.recipes.fields import DEFAULT_PROMPT, PromptTemplate
from core.values import SuiteId, clean_name, counted, new_id


def create_suite(
    platform: Platform,
    *,
    name: str,
    kind: SuiteKind,
    dataset: str,
    dataset_version: int | None,
    prompt: PromptTemplate = DEFAULT_PROMPT,
    mirror: bool = False,
) -> Suite:
    """Make a suite of all images of a dataset version; without one, of the present images.

    These become a version unless the newest has the same or the suite is refused. No model can be
    trained on the images from then on. `mirror` says that a mirror image shows the same class.
    Raises Forbidden for a key that is limited to some models, FieldInvalid when the dataset is of
    the other kind or captioned images may be mirrored, ImageInTraining when one of the images is on
    the training side of a dataset version, NameInvalid, NameTaken, and of present images
    DatasetEmpty or ImageInSuite.
    """
    now = platform.clock()
    with platform.transactions() as work:
        work.principal.require_every_model()
        source = work[Datasets].get(dataset)
        if source.kind is not kind.dataset_kind:
            raise FieldInvalid(
                f"A {kind.value} suite requires a {kind.dataset_kind.value} dataset.",
                pointer="/dataset",
            )
        if mirror and kind is SuiteKind.RETRIEVAL:
            raise FieldInvalid(
                "Only a zero-shot suite has views, which may be mirrored.", pointer="/mirror"
            )
        named = clean_name(name)

        def refuse(manifest: Manifest) -> None:
            work[Suites].require_free(named)
            _refuse_trained(work, source, manifest)

        if dataset_version is None:
            version = freeze(work, platform.artifacts, source, now, accept=refuse, if_changed=True)
            manifest = read_manifest(platform.artifacts, version.manifest)
        else:
            version = work[Datasets].version(source.id, dataset_version, keep=True)
            manifest = read_manifest(platform.artifacts, version.manifest)
            refuse(manifest)
        suite = Suite(
            id=SuiteId(new_id("suite", now)),
            name=named,
            kind=kind,
            manifest=version.manifest,
            classes=manifest.classes,
            images=len(manifest.entries),
            prompt=prompt,
            mirror=mirror,
            created_at=now,
        )
        work[Suites].add(suite, manifest)
        audit.record(
            work,
            Action.SUITE_CREATED,
            f"suites/{suite.name}",
            now=now,
            after={
                "kind": kind.value,
                "dataset": source.name,
                "dataset_version": version.number,
                "mirror": mirror,
            },
        )
        work.commit()
    return suite


def _refuse_trained(work: Work, source: Dataset, manifest: Manifest) -> None:
    """Raise ImageInTraining for an image that is on the training side of another dataset.

    An image that is already in a suite cannot have been trained on since then: a version whose
    training side has it is the one that the suite was made from.
    """
    groups = {entry.group for entry in manifest.entries}
    trained = work[Datasets].trained_groups(groups, except_for=source.id)
    trained -= work[Suites].contains(trained)
    if trained:
        shared = sorted(entry.pixels for entry in manifest.entries if entry.group in trained)
        raise ImageInTraining(
            f"The training sides of dataset versions contain {counted(len(shared), 'image')} "
            "of this dataset, counting near-duplicates.",
            pixels=shared[:20],
        )
