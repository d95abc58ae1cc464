"""The API's reference as a page, on which Redoc shows the OpenAPI document."""

from fastapi import Request
from starlette.responses import Response

from api.http.routing import Routes, ThreadRoute
from api.pages.rendering import POLICY, page

router = Routes(route_class=ThreadRoute)

# Redoc adds its rules to empty style elements, which the hash of the empty text allows, and to them
# a font as a data URL.
_STYLES = "style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; font-src data:"


@router.get("/docs", include_in_schema=False)
def show_reference(request: Request) -> Response:
    """Return the reference as a page, which needs no key: browsers send none."""
    answer = page(request, "reference.html")
    policy = POLICY.replace("style-src 'self'", _STYLES)
    answer.headers["Content-Security-Policy"] = policy
    return answer
