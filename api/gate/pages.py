"""Pages of what judges models: suites and policies, and the form that changes those of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import RedirectResponse, Response

from api.gate.policy_form import changes_of, form_of, pairs_text, wanted_of
from api.http.routing import PAGES, Routes
from api.http.schemas import VersionNumber
from api.pages.browsing import PageRoute
from api.pages.forms import LONGEST_REASON, SentForm, Text, reason_field
from api.pages.rendering import PageRequest
from core.audit.rows import AuditTrail
from core.datasets.freeze import read_remaining
from core.datasets.manifests import Part
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind, SuiteKind
from core.datasets.suites import create_suite
from core.datasets.version_rows import Suites
from core.errors import FieldInvalid, PerennialError, SuiteNotFound
from core.evaluation.exams import entries_in
from core.evaluation.judge_again import judge_again
from core.evaluation.report import Report
from core.gate.guards import Guarding, is_guard
from core.gate.rows import Policies
from core.gate.rules import LIMITS, GatePolicy
from core.platform import Platform
from core.principal import Role
from core.recipes.fields import PromptTemplate
from core.registry.configure import configure_model
from core.registry.evidence import grow_holdout, grow_suite
from core.registry.read import grown_holdouts_of, read_report, usual_prompt
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.upkeep.delete import retire_suite

router = Routes(prefix=PAGES, route_class=PageRoute, include_in_schema=False)

ROWS = 25  # of the list of suites, and of that of policies
LATEST = 30  # versions, of which the newest with a report is shown
STEPS = 20  # that changed what judges a model
KNOWN = 100  # suites or datasets whose names a page lists


@router.get("/suites", Role.VIEWER)
def show_suites(asked: PageRequest, suites_after: Text = "", policies_after: Text = "") -> Response:
    """Show suites and policies, oldest first."""
    with asked.platform.transactions(read_only=True) as work:
        suites = work[Suites].page(ROWS + 1, suites_after or None)
        policies = work[Policies].page(ROWS + 1, policies_after or None)
        shown, rules = suites[:ROWS], policies[:ROWS]
        judged = work[Models].judged([*(one.id for one in shown), *(one.id for one in rules)])
    return asked.page(
        "administration/suites.html",
        suites=shown,
        policies=rules,
        judged=judged,
        first=not suites_after,
        next_suite=shown[-1].id if len(suites) > ROWS else None,
        next_policy=rules[-1].id if len(policies) > ROWS else None,
        suites_after=suites_after,
        policies_after=policies_after,
    )


@router.post("/suites/{suite}/retire", Role.ADMIN)
def retire(suite: str, asked: PageRequest, _form: SentForm) -> Response:
    """Retire a suite that judges no model."""
    retire_suite(asked.platform, suite=suite)
    return RedirectResponse(f"{PAGES}/suites", 303)


@router.get("/suites/{suite}/images", Role.ADMIN)
def show_images_form(suite: str, asked: PageRequest) -> Response:
    """Show the form that adds images to a suite."""
    return _images_form(asked, suite)


@router.post("/suites/{suite}/images", Role.ADMIN)
def add_images(suite: str, asked: PageRequest, fields: SentForm) -> Response:
    """Add the present images of a dataset to a suite."""
    try:
        grow_suite(
            asked.platform,
            suite=suite,
            dataset=fields.get("dataset", ""),
            dataset_version=None,
            reason=reason_field(fields),
        )
    except PerennialError as refusal:
        return _images_form(asked, suite, fields, refusal)
    return RedirectResponse(f"{PAGES}/suites", 303)


def _images_form(
    asked: PageRequest,
    suite: str,
    fields: Mapping[str, str] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    with asked.platform.transactions(read_only=True) as work:
        found = work[Suites].newest(suite)
        if found.model is not None:  # the form of its holdout adds to it
            raise SuiteNotFound(suite=suite)
        judged = work[Models].judged([found.id]).get(found.id, ())
        there = read_remaining(work, asked.platform.artifacts, found.manifest).entries
    return _ask_for_images(
        asked,
        f"the suite {found.name}",
        kind=found.kind.dataset_kind,
        classes=found.classes,
        tests=len(entries_in(Part.TEST, there)),
        judged=judged,
        command=f"perennial suite grow {found.name} FOLDER --reason WHY",
        back=f"{PAGES}/suites",
        here=f"{PAGES}/suites/{found.id}/images",
        fields=fields or {},
        refusal=refusal,
    )


@router.get("/models/{model}/versions/{version}/holdout/images", Role.ADMIN)
def show_holdout_form(model: str, version: VersionNumber, asked: PageRequest) -> Response:
    """Show the form that adds test images to the holdout of an update."""
    return _holdout_form(asked, model, version)


@router.post("/models/{model}/versions/{version}/holdout/images", Role.ADMIN)
def add_to_holdout(
    model: str, version: VersionNumber, asked: PageRequest, fields: SentForm
) -> Response:
    """Add the present images of a dataset to the holdout of an update."""
    try:
        grow_holdout(
            asked.platform,
            model=model,
            version=version,
            dataset=fields.get("dataset", ""),
            dataset_version=None,
            reason=reason_field(fields),
        )
    except PerennialError as refusal:
        return _holdout_form(asked, model, version, fields, refusal)
    return RedirectResponse(f"{PAGES}/models/{model}/versions/{version}", 303)


def _holdout_form(
    asked: PageRequest,
    model: str,
    version: int,
    fields: Mapping[str, str] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    artifacts = asked.platform.artifacts
    with asked.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        learner = work[Versions].get(found.id, version)
        (there,) = grown_holdouts_of(work, artifacts, [learner])
    here = f"{PAGES}/models/{found.name}/versions/{version}"
    return _ask_for_images(
        asked,
        f"the holdout of {found.name}, version {version}",
        kind=DatasetKind.LABELLED,
        classes=learner.update_classes,
        tests=len(entries_in(Part.TEST, there)),
        judged=[found.name],
        command=f"perennial suite grow {found.name}:{version} FOLDER --reason WHY",
        back=here,
        here=f"{here}/holdout/images",
        fields=fields or {},
        refusal=refusal,
    )


def _ask_for_images(asked: PageRequest, title: str, kind: DatasetKind, **shown: Any) -> Response:
    """Return the form that adds images of a dataset of a kind to what the title names."""
    with asked.platform.transactions(read_only=True) as work:
        datasets = work[Datasets].page(KNOWN, None)
    return asked.page(
        "administration/suite_images.html",
        title=title,
        datasets=[one.name for one in datasets if one.kind is kind],
        longest=LONGEST_REASON,
        **shown,
    )


@router.get("/datasets/{dataset}/versions/{version}/suite", Role.OPERATOR)
def show_suite_form(dataset: str, version: VersionNumber, asked: PageRequest) -> Response:
    """Show the form that makes a suite of a dataset version."""
    return _suite_form(asked, dataset, version)


@router.post("/datasets/{dataset}/versions/{version}/suite", Role.OPERATOR)
def make_suite(
    dataset: str, version: VersionNumber, asked: PageRequest, fields: SentForm
) -> Response:
    """Make a suite of a dataset version."""
    try:
        with asked.platform.transactions(read_only=True) as work:
            kind = work[Datasets].get(dataset).kind
            prompt = fields.get("prompt") or usual_prompt(work).text
        create_suite(
            asked.platform,
            name=fields.get("name", ""),
            kind=next(one for one in SuiteKind if one.dataset_kind is kind),
            dataset=dataset,
            dataset_version=version,
            prompt=PromptTemplate(prompt),
            mirror=fields.get("mirror") == "yes",
            classes=[line for line in fields.get("classes", "").splitlines() if line.strip()],
        )
    except PerennialError as refusal:
        return _suite_form(asked, dataset, version, fields, refusal)
    return RedirectResponse(f"{PAGES}/suites", 303)


def _suite_form(
    asked: PageRequest,
    dataset: str,
    version: int,
    fields: Mapping[str, str] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    with asked.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        frozen = work[Datasets].version(found.id, version)
        first = {"name": found.name, "prompt": usual_prompt(work).text}
    return asked.page(
        "datasets/suite.html",
        dataset=found,
        version=frozen,
        fields=fields or first,
        refusal=refusal,
    )


# What judges a model: its policy, its suites, and its line's error budget.


@router.get("/models/{model}/policy", Role.VIEWER)
def show_policy(model: str, asked: PageRequest) -> Response:
    """Show the policy and the suites of a model, and the error budget of its line."""
    platform = asked.platform
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        policy = work[Policies].get(found.policy)
        suites = [work[Suites].get(suite) for suite in found.suites]
        steps = work[AuditTrail].gate_steps(
            found.name, [f"suites/{one.name}" for one in suites], found.created_at, STEPS
        )
    judged = newest_judged(platform, found)
    measures = judged[1].measures if judged else ()
    return asked.page(
        "administration/policy.html",
        model=found,
        policy=policy,
        limits=LIMITS,
        same_names=pairs_text(policy.same_names, ", "),
        suites=suites,
        steps=[event.change for event in steps],
        guards={m.name for m in measures if is_guard(m, policy.minimum_count)},
        guarding=Guarding.of(measures, policy.minimum_count),
        version=judged[0] if judged else None,
        report=judged[1] if judged else None,
    )


def newest_judged(platform: Platform, model: Model) -> tuple[Version, Report] | None:
    """Return the newest version that has a readable report, and the report."""
    with platform.transactions(read_only=True) as work:
        newest = work[Versions].newest(model.id)
        start = max(0, newest.number - LATEST) if newest else 0
        versions = work[Versions].page(model.id, LATEST, start)
    for version in reversed(versions):
        try:
            return version, Report.from_json(read_report(platform.artifacts, version))
        except PerennialError:
            continue
    return None


# Change what judges a model: first show what would change, then change it.


@router.get("/models/{model}/policy/change", Role.ADMIN)
def show_form(model: str, asked: PageRequest) -> Response:
    """Show the form with what judges the model now."""
    return _ask(asked, model)


@router.post("/models/{model}/policy/change/preview", Role.ADMIN)
def show_preview(model: str, asked: PageRequest, fields: SentForm) -> Response:
    """Show what would change, and change nothing."""
    return _ask(asked, model, fields)


@router.post("/models/{model}/policy/change", Role.ADMIN)
def change(model: str, asked: PageRequest, fields: SentForm) -> Response:
    """Change what judges the model's next versions."""
    platform = asked.platform
    try:
        found, policy, suites = _present(platform, model)
        if fields.get("seen") != _seen(policy, suites):
            raise FieldInvalid("Somebody else changed it: check the current state.")
        reason = reason_field(fields)
        wanted = wanted_of(fields, policy, suites, platform.clock(), reason)
        configure_model(
            platform, found.id, suites=wanted.suites, policy=wanted.policy, reason=reason
        )
    except PerennialError as refusal:
        return _ask(asked, model, fields, refusal)
    return RedirectResponse(f"{PAGES}/models/{found.name}/policy", 303)


def _ask(
    asked: PageRequest,
    model: str,
    fields: Mapping[str, str] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    """Return the form; with fields, also what they would change."""
    platform = asked.platform
    now = platform.clock()
    found, policy, suites = _present(platform, model)
    preview: dict[str, Any] | None = None
    if fields is not None:
        try:
            wanted = wanted_of(fields, policy, suites, now)
            with platform.transactions(read_only=True) as work:
                for suite in wanted.suites or ():
                    work[Suites].get(suite)
            preview = {"changes": list(changes_of(wanted, policy, suites)), "judgement": None}
            judged = newest_judged(platform, found) if wanted.policy else None
            if judged and wanted.policy:
                preview["report"] = judged[1]
                preview["judgement"] = judge_again(judged[1], wanted.policy)
        except PerennialError as problem:
            refusal = refusal or problem
    with platform.transactions(read_only=True) as work:
        known = [one.name for one in work[Suites].page(KNOWN, None) if one.retired_at is None]
    named = f"{found.name[:53]}-{now:%Y-%m-%d}"
    return asked.page(
        "administration/policy_change.html",
        model=found,
        policy=policy,
        seen=_seen(policy, suites),
        form={**form_of(policy, suites, named), **(fields or {})},
        limits=LIMITS,
        known=known,
        preview=preview,
        refusal=refusal,
        longest=LONGEST_REASON,
        now=now,
    )


def _present(platform: Platform, model: str) -> tuple[Model, GatePolicy, list[str]]:
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        names = work[Suites].names(found.suites)
        return found, work[Policies].get(found.policy), [names[suite] for suite in found.suites]


def _seen(policy: GatePolicy, suites: Sequence[str]) -> str:
    """Return what a form says of what judged the model when it was shown."""
    return " ".join([policy.id, *suites])
