"""Route of the caller."""

from fastapi import APIRouter

from api.dependencies import CurrentPrincipal, WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.schemas.access import PrincipalView
from core.domain.access.roles import Role
from core.use_cases.access.keys import model_names

router = APIRouter(prefix="/v1/principal", tags=["access"], route_class=ThreadRoute)


@router.get("", openapi_extra=needs(Role.VIEWER))
def get_principal(services: WiredServices, principal: CurrentPrincipal) -> PrincipalView:
    """Return the caller: the name of its key or token, its role and its models."""
    with services.platform.transactions(read_only=True) as work:
        names = sorted(model_names(work, principal))
    return PrincipalView(
        name=principal.name,
        role=Role(str(principal.role)),
        models=None if principal.models is None else names,
        key=principal.key,
    )
