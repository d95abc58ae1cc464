"""Routes that edit the classes of a dataset."""

from typing import Annotated

from fastapi import APIRouter, Path

from api.dependencies import WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.datasets.edits import ClassChange, ClassView, MovedView, Moves
from core import errors
from core.domain.access.roles import Role
from core.domain.values import Digest, clean_class
from core.use_cases.datasets import edit_classes

router = APIRouter(prefix="/v1/datasets/{dataset}", tags=["datasets"], route_class=ThreadRoute)

ClassName = Annotated[str, Path(max_length=500, examples=["boot"])]


@router.patch(
    "/classes/{name:path}",
    responses=raises(
        errors.DatasetNotFound,
        errors.ClassNotFound,
        errors.ClassInvalid,
        errors.ClassTaken,
        errors.NotLabelled,
    ),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def rename_dataset_class(
    dataset: str, name: ClassName, body: ClassChange, services: WiredServices
) -> ClassView:
    """Rename a class of a dataset, or join it to another class; frozen versions do not change."""
    images = edit_classes.rename_class(
        services.platform, dataset, name, to=body.name, merge=body.merge
    )
    return ClassView(name=clean_class(body.name), images=images)


@router.post(
    "/moves",
    responses=raises(
        errors.DatasetNotFound, errors.ImageNotFound, errors.ClassInvalid, errors.NotLabelled
    ),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def move_images(dataset: str, body: Moves, services: WiredServices) -> MovedView:
    """Move images of a dataset to a class, new or not; all or none."""
    images = [Digest(pixels) for pixels in body.images]
    moved = edit_classes.move_images(services.platform, dataset, images, to=body.name)
    return MovedView(name=clean_class(body.name), moved=moved)
