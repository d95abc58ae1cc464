"""Route of the API's reference for people."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from api.http.threadpool_route import ThreadRoute
from api.pages.reference_page import reference_policy, render_reference

router = APIRouter(route_class=ThreadRoute)


@router.get("/docs", include_in_schema=False)
def show_reference(request: Request) -> HTMLResponse:
    """Return the reference as a page, which needs no key: browsers send none."""
    app = request.app
    if not hasattr(app.state, "reference"):
        app.state.reference = render_reference(app.openapi())
    headers = {"Content-Security-Policy": reference_policy()}
    return HTMLResponse(app.state.reference, headers=headers)
