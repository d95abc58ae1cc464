"""Pages of access: sessions and links, forms without a session, API keys, audit events."""

import re
from dataclasses import replace

from httpx import Response

from api.http.authentication import SESSION_COOKIE
from api.http.routing import SIGN_IN
from api.sign_ins import SIGN_INS, SignIns
from core.access.authenticate import LASTS, SignInLink, sign_in
from core.access.keys import create_key, revoke_key
from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.gate.rules import Verdict
from core.principal import Role
from core.registry.promote import promote
from core.values import sha256
from tests.support.api.browsing import Browser, Marks
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import KEY, Service
from tests.support.factories import NOW, TESTER


def fields_of(answer: Response) -> dict[str, str]:
    """The fields of the form of a page, as a browser sends them."""
    found = [given for tag, given in Marks(answer.text).tags if tag == "input" and "value" in given]
    return {str(given["name"]): str(given["value"]) for given in found}


def test_a_key_opens_a_session_that_only_its_browser_holds(shared_service: Service) -> None:
    _, secret = create_key(shared_service.platform, name="ann", role=Role.VIEWER)
    stranger = Browser(client=shared_service.client)
    assert stranger.get("/").headers["location"] == "/ui"
    led = stranger.get("/ui/jobs?model=demo")
    assert led.status_code == 303
    assert led.headers["location"] == f"{SIGN_IN}?next=/ui/jobs%3Fmodel%3Ddemo"
    form = stranger.get(led.headers["location"])
    assert 'value="/ui/jobs?model=demo"' in form.text
    assert 'type="password"' in form.text
    answer = stranger.post(SIGN_IN, {"key": f" {secret} ", "next": "/ui/jobs?model=demo"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/jobs?model=demo")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/ui" in cookie
    assert "Secure" not in cookie
    session = re.findall(f"{SESSION_COOKIE}=([^;]+)", cookie)[0]
    assert secret not in cookie
    assert session not in str(shared_service.kept())
    over_tls = shared_service.client.post(
        f"https://testserver{SIGN_IN}", data={"key": secret}, follow_redirects=False
    )
    assert "Secure" in over_tls.headers["set-cookie"]
    ann = Browser(client=shared_service.client, session=session)
    assert "<b>ann</b>" in ann.get("/ui").text
    assert ann.send("/ui/sign-out").headers["location"] == SIGN_IN
    assert ann.get("/ui").headers["location"].startswith(SIGN_IN)


def test_a_cookie_with_escapes_is_not_read(shared_service: Service) -> None:
    """Taking escapes back takes seconds in some releases of Python, and nobody else is answered."""
    _, secret = create_key(shared_service.platform, name="eve", role=Role.VIEWER)
    session, _ = sign_in(shared_service.platform, sha256(secret.encode()))
    escaped = f'"\\{ord(session[0]):03o}{session[1:]}"'  # which stands for the session's id
    browser = Browser(client=shared_service.client, session=escaped)
    assert browser.get("/ui/jobs").headers["location"].startswith(SIGN_IN)
    others = Browser(client=shared_service.client, session=f'{session}; other="\\054"')
    assert others.get("/ui/jobs").status_code == 200


def test_a_link_signs_in_once(shared_service: Service) -> None:
    link = SignInLink(sha256(KEY.encode()), shared_service.platform.clock)
    app = shared_service.client.app
    before = app.state.services  # type: ignore[attr-defined]
    app.state.services = replace(before, sign_in_link=link)  # type: ignore[attr-defined]
    try:
        stranger = Browser(client=shared_service.client)
        address = f"{SIGN_IN}?link={link.token}&next=/ui/jobs"
        for _ in range(2):  # looking at it does not use it up
            form = stranger.get(address).text
            assert "Sign in as admin" in form
            assert "API key" not in form
        sent = {"link": link.token, "next": "/ui/jobs"}
        wrong = stranger.post(SIGN_IN, sent | {"link": link.token[:-1]})
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
        answer = stranger.post(SIGN_IN, sent)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/jobs")
        assert SESSION_COOKIE in answer.headers["set-cookie"]
        again = stranger.post(SIGN_IN, sent)
        assert (again.status_code, "set-cookie" in again.headers) == (401, False)
        assert "This link has been used" in stranger.get(address).text
    finally:
        app.state.services = before  # type: ignore[attr-defined]


def test_sign_ins_are_limited_and_all_that_fail_are_one_audit_event(
    shared_service: Service,
) -> None:
    _, secret = create_key(shared_service.platform, name="often", role=Role.VIEWER)
    limits = SignIns(shared_service.platform, lambda: 0.0)
    app = shared_service.client.app
    before = app.state.services  # type: ignore[attr-defined]
    app.state.services = replace(before, sign_ins=limits)  # type: ignore[attr-defined]
    try:
        stranger = Browser(client=shared_service.client)
        wrong = [stranger.post(SIGN_IN, {"key": f"pk_{number}"}) for number in range(SIGN_INS + 1)]
        right = [stranger.post(SIGN_IN, {"key": secret}) for _ in range(SIGN_INS + 1)]
        limits.close()
    finally:
        app.state.services = before  # type: ignore[attr-defined]
    assert [answer.status_code for answer in wrong] == [401] * SIGN_INS + [429]
    assert [answer.status_code for answer in right] == [303] * SIGN_INS + [429]
    for answer in (wrong[-1], right[-1]):
        assert (answer.headers["retry-after"], "try again in 60 s" in answer.text) == ("60", True)
    with shared_service.platform.transactions(read_only=True) as work:
        (event,) = work[AuditTrail].page(9, None, AuditFilter(action=Action.SESSION_REFUSED))
        opened = work[AuditTrail].page(99, None, AuditFilter(actor="often"))
    told = {"failures": SIGN_INS + 1, "addresses": {"testclient": SIGN_INS + 1}}
    assert (event.change.after, len(opened)) == (told, SIGN_INS)


def test_a_link_expires() -> None:
    now = [NOW]
    link = SignInLink(sha256(KEY.encode()), lambda: now[0])
    assert link.is_good(link.token)
    now[0] += LASTS
    assert link.take(link.token) is None


def test_signing_in_leads_to_pages_of_this_service_only(shared_service: Service) -> None:
    _, secret = create_key(shared_service.platform, name="led", role=Role.VIEWER)
    for page in ("https://elsewhere.example/", "//elsewhere.example", "/v1/models", "/ui\r\nX: y"):
        stranger = Browser(client=shared_service.client)
        answer = stranger.post(SIGN_IN, {"key": secret, "next": page})
        assert answer.headers["location"] == "/ui"


def test_a_session_ends_when_its_key_is_revoked(shared_service: Service) -> None:
    _, secret = create_key(shared_service.platform, name="leaver", role=Role.VIEWER)
    session, _ = sign_in(shared_service.platform, sha256(secret.encode()))
    leaver = Browser(client=shared_service.client, session=session)
    assert leaver.get("/ui").status_code == 200
    revoke_key(shared_service.platform, "leaver")
    assert leaver.get("/ui").status_code == 303
    part = leaver.get("/ui", HX_Request="true", HX_Current_URL="http://testserver/ui/jobs")
    assert (part.status_code, part.headers["hx-redirect"]) == (401, f"{SIGN_IN}?next=/ui/jobs")


def test_a_form_without_a_session_is_kept_for_its_own_page_alone(
    shared_service: Service, stranger: Browser
) -> None:
    _, secret = create_key(shared_service.platform, name="typist", role=Role.CONTRIBUTOR)
    typed = {"name": "shoes", "description": '<b>"boots"', "token": "of the past"}
    here = {"Referer": "http://testserver/ui/datasets"}
    asked = stranger.post("/ui/datasets", typed, **here)
    assert (asked.status_code, "has kept what you entered" in asked.text) == (401, True)
    kept = fields_of(asked)
    assert kept["next"] == "/ui/datasets"
    assert kept["unsent_to"] == "/ui/datasets"
    assert kept["unsent-description"] == typed["description"]
    assert "of the past" not in asked.text
    with shared_service.untouched():
        refused = stranger.post(SIGN_IN, kept | {"key": "pk_wrong"})
        assert (refused.status_code, "has kept what you entered" in refused.text) == (401, True)
    shown = stranger.post(SIGN_IN, kept | {"key": secret})
    assert 'action="/ui/datasets"' in shown.text
    session = re.findall(f"{SESSION_COOKIE}=([^;]+)", shown.headers["set-cookie"])[0]
    typist = Browser(client=shared_service.client, session=session)
    sent = typist.post("/ui/datasets", fields_of(shown))
    assert (sent.status_code, sent.headers["location"]) == (303, "/ui/datasets/shoes")
    for answer in (
        stranger.post("/ui/datasets", typed, Origin="https://elsewhere.example"),
        stranger.post("/ui/datasets", typed, as_files=True),
        stranger.post("/ui/datasets", typed | {"description": "a" * 20_000}),
        stranger.post("/ui/sign-out", typed),
    ):
        assert (answer.status_code, "fill it in again" in answer.text) == (401, True)
        assert "unsent" not in answer.text
    elsewhere = kept | {"key": secret, "unsent_to": "https://elsewhere.example/ui/"}
    assert stranger.post(SIGN_IN, elsewhere).headers["location"] == "/ui/datasets"
    part = stranger.post("/ui/models/demo/try", typed, HX_Request="true", **here)
    assert part.headers["hx-redirect"] == f"{SIGN_IN}?next=/ui/datasets"


def test_a_session_opens_pages_only_and_a_key_everything_else(
    shared_service: Service, viewer: Browser
) -> None:
    assert viewer.get("/v1/models").status_code == 401
    keyed = Browser(client=shared_service.client)
    assert keyed.get("/ui", **shared_service.key(Role.VIEWER)).status_code == 303


SECRET = re.compile(r"<code>(pk_[\w-]{20,})</code>")

HERE = re.compile(r"/ui/keys/(key_\w+)/rotate")


def lets_in(service: Service, secret: str) -> bool:
    answer = service.client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
    return answer.status_code == 200


def test_a_key_is_made_shown_once_rotated_and_revoked(
    shared_service: Service, admin: Browser
) -> None:
    fields = {"name": "paged", "role": "contributor", "models": "demo", "expires": "2199-12-31"}
    made = admin.send("/ui/keys", **fields).text
    here, (secret,) = f"/ui/keys/{HERE.findall(made)[0]}", SECRET.findall(made)
    assert lets_in(shared_service, secret)
    for path in (here, "/ui/keys"):
        text = admin.get(path).text
        assert secret not in text
        for told in (secret[:9], "contributor", "demo", "2200-01-01 00:00"):
            assert told in text
    (rotated,) = SECRET.findall(admin.send(f"{here}/rotate", overlap="0").text)
    assert (lets_in(shared_service, secret), lets_in(shared_service, rotated)) == (False, True)
    assert admin.send(f"{here}/revoke").headers["location"] == here
    assert not lets_in(shared_service, rotated)
    assert f'action="{here}/rotate"' not in admin.get(here).text


SCRIPT = "<script>alert(4)</script>"

NUMBER = re.compile(r'<td class="n muted">(\d+)</td>')


def test_events_are_found_by_who_action_model_and_day(
    shared_service: Service, admin: Browser
) -> None:
    model = a_root(shared_service.platform, "audited")
    a_candidate(shared_service.platform, model, verdict=Verdict.INCONCLUSIVE)
    asked = {"model": "audited", "alias": "production", "version": 2, "expected_revision": 1}
    promote(shared_service.platform, TESTER, **asked, override=False, reason=SCRIPT)
    assert SCRIPT not in admin.get("/ui/audit").text
    moved = admin.get("/ui/audit?model=audited&action=alias.moved").text
    assert len(NUMBER.findall(moved)) == 1
    assert "&lt;script&gt;alert(4)" in moved
    assert 'href="/ui/models/audited"' in moved
    assert "No event matches" in admin.get("/ui/audit?until=1999-01-01").text
    for wrong in ("since=yesterday", "until=9999-12-31"):
        assert admin.get(f"/ui/audit?{wrong}").status_code == 422
