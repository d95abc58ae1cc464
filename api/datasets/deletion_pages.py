"""The questions whether a dataset or a version of it is deleted."""

from functools import partial

from starlette.responses import Response

from api.datasets import routes
from api.http.routing import PAGES, Routes
from api.http.schemas import VersionNumber
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm
from api.pages.questions import Question, ask, carry_out
from api.pages.rendering import PageRequest
from core.datasets.rows import Datasets
from core.principal import Role
from core.values import counted

router = Routes(
    prefix=f"{PAGES}/datasets/{{dataset}}", route_class=PageRoute, include_in_schema=False
)

IN_USE = (
    "It cannot be deleted while there is a version of a model that learned from it, or while a "
    "suite or an unfinished job needs it."
)


@router.get("/deletion", Role.CONTRIBUTOR)
def ask_about_dataset(dataset: str, asked: PageRequest) -> Response:
    """Say what is lost with a dataset."""
    return ask(asked, _about_dataset(asked, dataset))


@router.post("/deletion", Role.CONTRIBUTOR)
def delete_dataset(dataset: str, asked: PageRequest, _form: SentForm) -> Response:
    """Delete a dataset."""
    delete = partial(routes.delete_dataset, dataset, asked.services)
    return carry_out(asked, _about_dataset(asked, dataset), delete, then=f"{PAGES}/datasets")


def _about_dataset(asked: PageRequest, dataset: str) -> Question:
    with asked.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        images = sum(work[Datasets].count(found.id).values())
        versions = len(work[Datasets].versions(found.id))
    here = f"{PAGES}/datasets/{found.name}"
    return Question(
        title=f"Delete the dataset {found.name}",
        done=f"The dataset {found.name} was deleted.",
        lost=[
            f"{counted(images, 'image')} and {counted(versions, 'version')} are deleted for good, "
            "but not images that other datasets hold.",
            IN_USE,
        ],
        action=f"{here}/deletion",
        back=here,
    )


@router.get("/versions/{version}/deletion", Role.ADMIN)
def ask_about_version(dataset: str, version: VersionNumber, asked: PageRequest) -> Response:
    """Say what is lost with a version of a dataset."""
    return ask(asked, _about_version(asked, dataset, version))


@router.post("/versions/{version}/deletion", Role.ADMIN)
def delete_version(
    dataset: str, version: VersionNumber, asked: PageRequest, _form: SentForm
) -> Response:
    """Delete a version of a dataset."""
    delete = partial(routes.delete_dataset_version, dataset, version, asked.services)
    question = _about_version(asked, dataset, version)
    return carry_out(asked, question, delete, then=f"{PAGES}/datasets/{dataset}")


def _about_version(asked: PageRequest, dataset: str, version: int) -> Question:
    with asked.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        frozen = work[Datasets].version(found.id, version)
    here = f"{PAGES}/datasets/{found.name}/versions/{frozen.number}"
    return Question(
        title=f"Delete version {frozen.number} of {found.name}",
        done=f"Version {frozen.number} of the dataset {found.name} was deleted.",
        lost=[
            f"Which {counted(frozen.images, 'image')} it held is forgotten, and its number is not "
            "given again. Images that the dataset holds now stay.",
            IN_USE,
        ],
        action=f"{here}/deletion",
        back=here,
    )
