"""Routes of API keys."""

from fastapi import APIRouter, Response

from api.dependencies import Services, WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.access import KeyView, NewKey, Rotation, SecretView
from api.schemas.common import After, Limit, Page, page_of
from core import errors
from core.domain.access.api_key import ApiKey
from core.domain.access.roles import Role
from core.use_cases.access.keys import create_key, model_names, revoke_key, rotate_key

router = APIRouter(prefix="/v1/api-keys", tags=["access"], route_class=ThreadRoute)


@router.post(
    "",
    status_code=201,
    responses=raises(
        errors.NameInvalid, errors.NameTaken, errors.ModelNotFound, errors.FieldInvalid
    ),
    openapi_extra=needs(Role.ADMIN),
)
def make_api_key(body: NewKey, services: WiredServices, response: Response) -> SecretView:
    """Create an API key; its secret is in this response and in no other."""
    key, secret = create_key(
        services.platform,
        name=body.name,
        role=body.role,
        models=body.models,
        expires_at=body.expires_at,
    )
    response.headers["Location"] = f"/v1/api-keys/{key.id}"
    return _with_secret(services, key, secret)


@router.get("", openapi_extra=needs(Role.ADMIN))
def list_api_keys(services: WiredServices, limit: Limit = 50, after: After = None) -> Page[KeyView]:
    """List API keys, oldest first, also those that were revoked or have expired."""
    now = services.platform.clock()
    with services.platform.transactions(read_only=True) as work:
        rows = work.keys.page(limit + 1, after)
        uses = work.keys.last_uses([row.id for row in rows])

        def view(row: ApiKey) -> KeyView:
            return KeyView.of(row, model_names(work, row), now, last_used_at=uses.get(row.id))

        return page_of(rows, limit, view, lambda row: row.id)


@router.get("/{key}", responses=raises(errors.KeyNotFound), openapi_extra=needs(Role.ADMIN))
def get_api_key(key: str, services: WiredServices) -> KeyView:
    """Return an API key, by id or name."""
    with services.platform.transactions(read_only=True) as work:
        found = work.keys.get(key)
        used = work.keys.last_uses([found.id]).get(found.id)
        names, now = model_names(work, found), services.platform.clock()
    return KeyView.of(found, names, now, last_used_at=used)


@router.post(
    "/{key}/rotate",
    responses=raises(errors.KeyNotFound, errors.KeyNotLive),
    openapi_extra=needs(Role.ADMIN),
)
def rotate_api_key(key: str, services: WiredServices, body: Rotation | None = None) -> SecretView:
    """Give an API key a new secret; the present one stays valid for a while.

    Rotate again to end the present secret early.
    """
    rotated, secret = rotate_key(services.platform, key, (body or Rotation()).overlap)
    return _with_secret(services, rotated, secret)


@router.delete(
    "/{key}",
    status_code=204,
    response_class=Response,
    responses=raises(errors.KeyNotFound, errors.LastAdminKey),
    openapi_extra=needs(Role.ADMIN),
)
def revoke_api_key(key: str, services: WiredServices) -> None:
    """Revoke an API key for ever; it stays listed. The next request with it gets 401."""
    revoke_key(services.platform, key)


def _with_secret(services: Services, key: ApiKey, secret: str) -> SecretView:
    with services.platform.transactions(read_only=True) as work:
        names, used = model_names(work, key), work.keys.last_uses([key.id]).get(key.id)
    now = services.platform.clock()
    return SecretView.of(key, names, now, last_used_at=used, secret=secret)
