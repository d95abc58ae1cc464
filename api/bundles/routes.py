"""Routes of bundles: versions of another service, signed, and imported by digest."""

from typing import Annotated

from fastapi import Query
from starlette.concurrency import run_in_threadpool

from api.bundles.schemas import OriginDocument, SigningKeyView
from api.dependencies import Services, WiredServices
from api.http.bodies import ARCHIVE_TYPES, UploadQuery, declared_length, sent_archive
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import VersionNumber
from api.jobs.routes import ORDER_ERRORS, PlacedOrder
from api.jobs.schemas import JobView
from api.openapi_document import binary
from core import errors
from core.bundles.import_version import order_version_import, require_guard, require_place_for
from core.bundles.read import SignedBundle, has_first_file, read_origin, read_signed
from core.datasets.uploads import require_room
from core.jobs.orders import JobType
from core.principal import Role
from core.registry.rows import Models
from core.registry.version_rows import Versions

router = Routes(tags=["bundles"], route_class=ThreadRoute)

DigestQuery = Annotated[
    str | None,
    Query(
        max_length=80,
        description="The digest that the version must have; another is refused.",
    ),
]


GuardQuery = Annotated[
    str | None,
    Query(
        max_length=100,
        description="A zero-shot suite with test images of the classes that the version was "
        "taught, by id or name. It becomes one of the model's suites. Without test images of them, "
        "every report of a version that descends from this one says that nothing guards them.",
    ),
]


@router.post(
    "/v1/models/{model}/imports",
    JobType.IMPORT_VERSION.role,
    errors.ModelNotFound,
    errors.UnsupportedArchive,
    errors.UploadNotFound,
    errors.UploadExpired,
    errors.UploadIncomplete,
    errors.ArchiveUnsafe,
    errors.ArchiveCorrupt,
    errors.ArchiveTooBig,
    errors.BundleInvalid,
    errors.BundleNotTrusted,
    errors.LineageUnknown,
    errors.SuiteNotFound,
    errors.SuiteRetired,
    errors.GuardUnfit,
    errors.LearnedErasedImages,
    errors.StorageFull,
    *ORDER_ERRORS,
    status_code=202,
    openapi_extra=binary(*ARCHIVE_TYPES, required=False),
)
async def import_bundle(
    model: str,
    ordering: PlacedOrder,
    expect_digest: DigestQuery = None,
    guard: GuardQuery = None,
    upload: UploadQuery = None,
) -> JobView:
    """Order the import of a version from a bundle, which is the request's body or an upload.

    A signature of no trusted key is refused at once. The version has no verdict here: it must be
    scored before an alias can move to it.
    """
    services, request = ordering.services, ordering.request
    await run_in_threadpool(_require_model, services, model, declared_length(request))
    arriving = ArrivingBundle(services, model, expect_digest, guard)
    archive = await sent_archive(request, services.platform, upload, arriving.inspect)
    body = {"archive": archive.digest, "expect_digest": expect_digest, "guard": guard}

    def ordered() -> JobView:
        job = order_version_import(
            *ordering.of(body),
            arriving.signed,
            model=model,
            archive=archive.digest,
            size=archive.size,
            guard=guard,
        )
        return ordering.accepted(job)

    return await run_in_threadpool(ordered)


@router.get(
    "/v1/models/{model}/versions/{version}/origin",
    Role.VIEWER,
    errors.ModelNotFound,
    errors.VersionNotFound,
    errors.OriginNotFound,
    errors.ArtifactMissing,
    errors.ArtifactCorrupt,
)
def get_origin(model: str, version: VersionNumber, services: WiredServices) -> OriginDocument:
    """Return what the bundle of an imported version said of it: its line and foreign reports."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
    record = read_origin(services.platform.artifacts, wanted)
    here = f"/v1/models/{found.name}/versions/{wanted.number}"
    links = {"self": f"{here}/origin", "version": here}
    return OriginDocument.model_validate({**record, "links": links})


@router.get("/v1/signing-key", Role.VIEWER, errors.SigningKeyMissing)
def get_signing_key(services: WiredServices) -> SigningKeyView:
    """Return the public key of this service's bundles."""
    return SigningKeyView.of(services.signatures.public_key(), algorithm="ed25519")


class ArrivingBundle:
    """The signed statement of a bundle, which is checked before anything is stored."""

    def __init__(
        self, services: Services, model: str, expected: str | None, guard: str | None
    ) -> None:
        self._services = services
        self._model = model
        self._expected = expected
        self._guard = guard
        self._signed: SignedBundle | None = None

    @property
    def signed(self) -> SignedBundle:
        """The signed statement. Raises BundleInvalid before `inspect` has read it."""
        if self._signed is None:
            raise errors.BundleInvalid
        return self._signed

    def inspect(self, first: bytes, ended: bool) -> bool:
        """Check the first file once it is there: see `Inspect`.

        Raises what `read_signed`, `require_place_for` and `require_guard` raise, and BundleInvalid
        for another digest than the expected one.
        """
        if not ended and not has_first_file(first):
            return False
        services = self._services
        signed = read_signed(
            services.archives,
            services.signatures,
            services.platform.settings,
            iter([first]),
            len(first),
        )
        signed.require_digest(self._expected)
        with services.platform.transactions(read_only=True) as work:
            model = work[Models].get(self._model)
            require_place_for(work, model, signed)
            if self._guard is not None:
                require_guard(work, services.platform.artifacts, model, signed, self._guard)
        self._signed = signed
        return True


def _require_model(services: Services, model: str, arriving: int) -> None:
    require_room(services.platform, arriving)
    with services.platform.transactions(read_only=True) as work:
        work[Models].get(model)
