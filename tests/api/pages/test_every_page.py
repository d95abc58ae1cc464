"""Rules of every page: sessions, roles, forms, headers, static files."""

import re

import pytest
from fastapi.routing import APIRoute

from api.app import RESOURCES
from api.every_page import PAGES
from api.http.routing import SIGN_IN, is_open, is_page, role_of
from core.principal import Role
from tests.support.api.browsing import Browser, Marks, browser_of
from tests.support.api.service import Service
from tests.support.places import ROOT

FORM = {"content-type": "application/x-www-form-urlencoded"}


def routes() -> list[APIRoute]:
    """Every route of a page that takes a session."""
    found = [route for router in PAGES for route in router.routes]
    return [
        route
        for route in found
        if isinstance(route, APIRoute) and is_page(route.path) and not is_open(route.path)
    ]


def address(route: APIRoute) -> str:
    things = {"version": "1", "model": "demo", "dataset": "products"}
    return re.sub(r"{(\w+)}", lambda found: things.get(found[1], "x"), route.path)


def has_files(route: APIRoute) -> bool:
    return route.path.endswith(("/try", "{dataset}/images"))


def test_every_page_takes_a_session_and_a_role(stranger: Browser) -> None:
    found = routes()
    assert len(found) > 1
    for route in found:
        for method in route.methods:
            answer = stranger.client.request(method, address(route), follow_redirects=False)
            assert answer.status_code == 303, route.path
            assert answer.headers["location"].startswith(SIGN_IN), route.path
        assert (route.openapi_extra or {})["x-required-role"] in set(Role), route.path
        assert not route.include_in_schema, route.path


def test_every_form_is_refused_without_the_token_of_its_session(shared_service: Service) -> None:
    admin, other = browser_of(shared_service, Role.ADMIN), browser_of(shared_service, Role.ADMIN)
    posts = [route for route in routes() if "POST" in route.methods]
    assert posts
    with shared_service.untouched():
        for route in posts:
            for token in ("", other.token(), "a.b"):
                answer = admin.post(address(route), {"token": token}, as_files=has_files(route))
                assert answer.status_code == 403, route.path
                assert "belongs to another session" in answer.text, route.path


def test_every_form_is_refused_to_a_role_that_is_too_low(shared_service: Service) -> None:
    for route in routes():
        needed = Role((route.openapi_extra or {})["x-required-role"])
        for role in Role:
            if role.includes(needed):
                continue
            browser = browser_of(shared_service, role)
            for method in route.methods:
                answer = browser.client.request(
                    method, address(route), headers=browser._headers({}), follow_redirects=False
                )
                assert answer.status_code == 403, f"{method} {route.path} by {role}"


SAME = {  # what a page's form does, and the operation of the API that does it
    "POST /ui/models": "register_model",
    "POST /ui/models/{model}/deletion": "delete_model",
    "POST /ui/models/{model}/versions/{version}/deletion": "delete_version",
    "POST /ui/models/{model}/versions/{version}/exports": "order_version_export",
    "GET /ui/models/{model}/versions/{version}/download": "download_version",
    "GET /ui/models/{model}/versions/{version}/evidence": "get_evidence",
    "GET /ui/models/{model}/versions/{version}/exports/{export_format}/download": "download_export",
    "POST /ui/models/{model}/versions/{version}/exports/{export_format}/deletion": "delete_export",
    "POST /ui/datasets": "open_dataset",
    "POST /ui/datasets/{dataset}/deletion": "delete_dataset",
    "POST /ui/datasets/{dataset}/versions/{version}/deletion": "delete_dataset_version",
    "POST /ui/datasets/{dataset}/versions/{version}/suite": "make_suite",
    "POST /ui/suites/{suite}/retire": "delete_suite",
    "POST /ui/suites/{suite}/images": "add_suite_images",
    "POST /ui/suites/{suite}/label": "label_suite_images",
    "GET /ui/suites/{suite}/images/{pixels}": "get_suite_image",
    "POST /ui/models/{model}/versions/{version}/holdout/images": "add_holdout_images",
    "POST /ui/datasets/{dataset}/erasures": "order_image_erasure",
    "POST /ui/datasets/{dataset}/moves": "move_images",
    "POST /ui/datasets/{dataset}/removals": "delete_image",
    "POST /ui/datasets/{dataset}/renames": "rename_dataset_class",
}


def test_a_form_takes_the_role_that_the_api_takes() -> None:
    pages = {f"{next(iter(page.methods))} {page.path}": page for page in routes()}
    api = [route for router in RESOURCES for route in router.routes]
    operations = {route.name: route for route in api if isinstance(route, APIRoute)}
    for path, operation in SAME.items():
        assert role_of(pages[path]) == role_of(operations[operation]), path


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ],
)
def test_a_form_from_another_origin_is_refused(
    shared_service: Service, viewer: Browser, headers: dict[str, str]
) -> None:
    token = viewer.token()
    with shared_service.untouched():
        for path, form in (("/ui/sign-out", {"token": token}), (SIGN_IN, {"key": "pk_x"})):
            answer = viewer.post(path, form, **headers)
            assert answer.status_code == 403
            assert "from another site" in answer.text
    assert viewer.get("/ui").status_code == 200


def test_bodies_that_are_no_forms_are_refused(shared_service: Service, viewer: Browser) -> None:
    token = viewer.token()
    for sent, status in (
        ({"json": {"token": token}}, 415),
        ({"data": {"token": token, "filler": "a" * 70_000}}, 413),
        ({"data": {"token": token} | {f"f{i}": "" for i in range(60)}}, 422),
        ({"content": b"token=%ff", "headers": FORM}, 422),
        ({"content": b"token=a&token=a", "headers": FORM}, 422),
        ({"content": b"token=%00", "headers": FORM}, 422),
    ):
        headers = viewer._headers({}) | sent.pop("headers", {})
        answer = viewer.client.post("/ui/sign-out", headers=headers, follow_redirects=False, **sent)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")
    assert viewer.get("/ui").status_code == 200


def test_pages_run_no_script_but_their_files(viewer: Browser, stranger: Browser) -> None:
    for answer in (viewer.get("/ui"), viewer.get("/ui/nowhere"), stranger.get(SIGN_IN)):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        for tag, given in Marks(answer.text).tags:
            assert not any(name.startswith("on") or name == "style" for name in given), tag
            assert tag not in {"style", "iframe"}
            if tag == "script":
                assert (given["src"] or "").startswith("/ui/static/")


def test_a_field_that_refuses_what_has_another_shape_says_which_it_takes() -> None:
    folder = ROOT / "api" / "pages" / "templates"
    texts = [path.read_text("utf-8") for path in folder.rglob("*.html")]
    shapes = [one for text in texts for one in re.findall(r'pattern="[^"]*"(.{8})', text)]
    assert shapes
    assert set(shapes) == {' title="'}


def test_problems_are_pages(shared_service: Service, viewer: Browser) -> None:
    answer = viewer.get("/ui/<script>alert(1)</script>")
    assert answer.status_code == 404
    assert "404 not_found" in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert "<script>alert" not in answer.text
    assert viewer.get("/ui?bogus=1").status_code == 422
    method = viewer.client.put("/ui", headers=viewer._headers({}))
    assert (method.status_code, method.headers["allow"]) == (405, "GET, HEAD")
    assert "<html" not in viewer.get("/ui/nowhere", HX_Request="true").text
