"""The form on a dataset's page that imports what lies in a bucket."""

from anyio.to_thread import run_sync
from starlette.responses import RedirectResponse, Response

from api.datasets.pages import dataset_page
from api.dependencies import CurrentPrincipal, job_request
from api.http.routing import PAGES, Routes
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm, sent_key, short_field
from api.pages.rendering import PageRequest
from core.archives.rules import MOST_KEY_BYTES, SCHEME, BucketFolder
from core.datasets.columns import MOST_NAME, WantedColumns
from core.errors import PerennialError
from core.imports.order import order_bucket_import
from core.principal import Role

router = Routes(
    prefix=f"{PAGES}/datasets/{{dataset}}/imports", route_class=PageRoute, include_in_schema=False
)


@router.post("", Role.CONTRIBUTOR)
async def import_from_bucket(
    dataset: str, asked: PageRequest, principal: CurrentPrincipal, fields: SentForm
) -> Response:
    """Order the import and show its job; a form that is sent twice orders one."""
    services = asked.services

    def column(name: str) -> str | None:
        return short_field(fields, name, MOST_NAME) or None

    def answer() -> Response:
        try:
            prefix = short_field(fields, "prefix", MOST_KEY_BYTES)
            job = order_bucket_import(
                services.platform,
                services.notifier,
                services.buckets,
                job_request(asked.request, principal, *sent_key(fields)),
                dataset=dataset,
                folder=BucketFolder.of(f"{SCHEME}{fields.get('bucket', '')}/{prefix}"),
                validate_only="validate_only" in fields,
                columns=WantedColumns(
                    image_column=column("image_column"),
                    label_column=column("label_column"),
                    caption_column=column("caption_column"),
                ),
            )
        except PerennialError as refusal:
            return dataset_page(asked, dataset, fields=fields, refusal=refusal)
        return RedirectResponse(f"{PAGES}/jobs/{job.id}", 303)

    return await run_sync(answer, limiter=services.listing)
