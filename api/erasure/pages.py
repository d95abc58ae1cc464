"""The question whether images are erased everywhere, asked of those that a page had chosen."""

from collections.abc import Mapping

from starlette.responses import RedirectResponse, Response

from api.datasets.image_pages import chosen_on_page
from api.dependencies import CurrentPrincipal, job_request
from api.http.routing import PAGES, Routes
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm, choice_field, fresh_key, reason_field, sent_key
from api.pages.questions import Question, ask
from api.pages.rendering import PageRequest
from core.erasure.order import order_erasure
from core.erasure.rules import Retraining
from core.errors import PerennialError
from core.principal import Role
from core.values import counted

router = Routes(
    prefix=f"{PAGES}/datasets/{{dataset}}/erasures", route_class=PageRoute, include_in_schema=False
)

RETRAINING = {
    Retraining.ALL.value: "train every version that learned from them again, without them",
    Retraining.ALIASED.value: "train only those again that aliases need",
    Retraining.NONE.value: "train nothing again",
}


@router.post("/question", Role.ADMIN)
def ask_about_erasure(dataset: str, asked: PageRequest, fields: SentForm) -> Response:
    """Say what is lost if the chosen images are erased, and ask for the reason."""
    return _ask(asked, dataset, fields)


@router.post("", Role.ADMIN)
def erase_images(
    dataset: str, asked: PageRequest, principal: CurrentPrincipal, fields: SentForm
) -> Response:
    """Order the erasure and show its job; a form that is sent twice orders one."""
    try:
        chosen, _, _ = chosen_on_page(fields, dataset)
        erasure = order_erasure(
            asked.platform,
            asked.services.notifier,
            job_request(asked.request, principal, *sent_key(fields)),
            images=chosen,
            reason=reason_field(fields),
            retraining=choice_field(fields, "retrain", Retraining),
        )
    except PerennialError as refusal:
        return _ask(asked, dataset, fields, refusal)
    return RedirectResponse(f"{PAGES}/jobs/{erasure.job}", 303)


def _ask(
    asked: PageRequest,
    dataset: str,
    fields: Mapping[str, str],
    refusal: PerennialError | None = None,
) -> Response:
    chosen, kept, back = chosen_on_page(fields, dataset)
    question = Question(
        title=f"Erase {counted(len(chosen), 'image')} everywhere",
        lost=[
            "They are deleted from every dataset, version of a dataset and suite, for good, and "
            "nobody can add them again.",
            "Versions of models that learned from them stay live, but are marked: they are not "
            "trained further, not exported and not promoted.",
            "Once it has begun, an erasure is not undone.",
        ],
        action=f"{PAGES}/datasets/{dataset}/erasures",
        back=back,
        fields={**kept, "key": fields.get("key") or fresh_key()},
        choices=RETRAINING,
        choice="retrain",
        wants_reason=True,
    )
    return ask(asked, question, refusal, fields)
