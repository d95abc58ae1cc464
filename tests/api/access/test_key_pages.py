"""Pages of API keys."""

import re
from datetime import timedelta

import pytest

from core.access.keys import create_key
from core.access.rows import Keys
from core.principal import Role
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.service import Service

SECRET = re.compile(r"<code>(pk_[\w-]{20,})</code>")

HERE = re.compile(r"/ui/keys/(key_\w+)/rotate")


@pytest.fixture(scope="module")
def admin(shared_service: Service) -> Browser:
    return browser_of(shared_service, Role.ADMIN)


def made(admin: Browser, **fields: str) -> tuple[str, str]:
    """The address and the secret of a new key."""
    answer = admin.send("/ui/keys", **{"role": "viewer", "models": "", "expires": ""} | fields)
    assert answer.status_code == 200, answer.text
    here, secret = HERE.search(answer.text), SECRET.search(answer.text)
    assert here
    assert secret
    return f"/ui/keys/{here[1]}", secret[1]


def lets_in(service: Service, secret: str) -> bool:
    answer = service.client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
    return answer.status_code == 200


def test_a_key_is_made_shown_once_rotated_and_revoked(
    shared_service: Service, admin: Browser
) -> None:
    here, secret = made(
        admin, name="paged", role="contributor", models="demo", expires="2199-12-31"
    )
    assert lets_in(shared_service, secret)
    for path in (here, "/ui/keys"):
        text = admin.get(path).text
        assert secret not in text
        assert f"{secret[:9]}" in text
        assert "contributor" in text
        assert "demo" in text
        assert "2200-01-01 00:00" in text
    assert "<dt>Last use</dt><dd>none known" in admin.get(here).text
    with shared_service.platform.transactions() as work:
        used_at = shared_service.platform.clock() - timedelta(hours=3)
        work[Keys].note_uses({work[Keys].get("paged").id: used_at})
        work.commit()
    for path in (here, "/ui/keys"):
        assert f'datetime="{used_at.isoformat()}"' in admin.get(path).text
    rotated = SECRET.search(admin.send(f"{here}/rotate", overlap="0").text)
    assert rotated
    assert (lets_in(shared_service, secret), lets_in(shared_service, rotated[1])) == (False, True)
    assert admin.send(f"{here}/revoke").headers["location"] == here
    assert not lets_in(shared_service, rotated[1])
    ended = admin.get(here).text
    assert "revoked" in ended
    assert f'action="{here}/rotate"' not in ended
    late = admin.send(f"{here}/rotate", overlap="1")
    assert (late.status_code, "key_not_live" in late.text) == (409, True)


def test_what_cannot_be_a_key_is_refused_beside_the_form(
    shared_service: Service, admin: Browser
) -> None:
    create_key(shared_service.platform, name="taken", role=Role.VIEWER)
    wrong = [
        ({"name": "taken"}, 409, "name_taken"),
        ({"name": "Not a name"}, 422, "name_invalid"),
        ({"name": "a", "role": "king"}, 422, "Choose a role"),
        ({"name": "a", "role": "admin", "models": "demo"}, 422, "leave models out"),
        ({"name": "a", "models": "nowhere"}, 404, "model_not_found"),
        ({"name": "a", "expires": "soon"}, 422, "Write the last day"),
        ({"name": "a", "expires": "2001-01-01"}, 422, "expired already"),
    ]
    with shared_service.untouched():
        for fields, status, words in wrong:
            answer = admin.send("/ui/keys", **{"role": "viewer", "expires": ""} | fields)
            assert (answer.status_code, words in answer.text) == (status, True), fields
            assert f'value="{fields["name"]}"' in answer.text
        for overlap in ("721", "-1", "soon", ""):
            assert admin.send("/ui/keys/taken/rotate", overlap=overlap).status_code == 422
        assert admin.get("/ui/keys/nobody").status_code == 404


def test_a_page_of_the_key_that_is_signed_in_says_so(
    shared_service: Service, admin: Browser
) -> None:
    own = re.search(r"<b>(admin-\d+)</b>", admin.get("/ui").text)
    assert own
    assert "You are signed in with this key" in admin.get(f"/ui/keys/{own[1]}").text
    create_key(shared_service.platform, name="another", role=Role.VIEWER)
    assert "You are signed in with this key" not in admin.get("/ui/keys/another").text
    assert admin.send("/ui/keys/nobody/revoke").status_code == 404
