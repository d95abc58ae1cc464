"""Static files of pages."""

from fastapi import APIRouter
from starlette.responses import Response

from api.http.routing import STATIC
from api.pages.browsing import PageRoute
from api.pages.rendering import find_asset
from core.errors import NotFound

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get(STATIC + "{name}")
async def get_static_file(name: str) -> Response:
    """Return a static file, which never changes: its name has the hash of its bytes."""
    asset = find_asset(name)
    if asset is None:
        raise NotFound("There is no such file: reload the page.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(asset.data, headers=headers, media_type=asset.media_type)
