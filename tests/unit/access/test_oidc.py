"""Tokens of a real issuer: which are valid, and how often its keys are read."""

import base64
import hmac
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK

from core.access.oidc import IssuerKeys, OidcTokens
from core.errors import IssuerUnavailable, Unauthorised
from devtools.ports import free_port
from tests.support.processes import wait_for
from tests.support.servers.issuer import AUDIENCE, Issuer

HOUR_S = 3600

LEEWAY_S = float(HOUR_S)


def tokens_of(url: str, **limits: float) -> OidcTokens:
    keys = IssuerKeys(url, **limits)
    return OidcTokens(keys, issuer=url, audience=AUDIENCE, leeway_s=LEEWAY_S)


@pytest.fixture
def tokens(issuer: Issuer) -> OidcTokens:
    return tokens_of(issuer.url)


def text(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def claims(issuer: Issuer) -> dict[str, Any]:
    return {"iss": issuer.url, "aud": AUDIENCE, "sub": "eve", "exp": int(time.time()) + HOUR_S}


def test_a_token_for_another_audience_or_of_another_issuer_is_refused(
    issuer: Issuer, tokens: OidcTokens
) -> None:
    for token in (
        issuer.log_in("ann", audience="shop"),
        issuer.log_in("ann", host="localhost"),
        issuer.sign(iss=f"{issuer.url}/"),
        issuer.sign(aud=["shop"]),
    ):
        with pytest.raises(Unauthorised):
            tokens.verify(token)
    assert tokens.verify(issuer.sign(aud=["shop", AUDIENCE]))["sub"] == "ann"
    found = tokens.verify(issuer.log_in("ann", roles=["operator"]))
    assert (found["sub"], found["roles"]) == ("ann", ["operator"])


def test_a_token_is_valid_in_its_time_and_a_little_around_it(
    issuer: Issuer, tokens: OidcTokens
) -> None:
    now = int(time.time())
    for changes in ({"exp": -1}, {"nbf": 1}, {"iat": 1}):
        ((name, sign),) = changes.items()
        tokens.verify(issuer.sign(**{name: now + sign * HOUR_S // 2}))
        with pytest.raises(Unauthorised):
            tokens.verify(issuer.sign(**{name: now + sign * HOUR_S * 2}))


@pytest.mark.parametrize("missing", ["iss", "aud", "sub", "exp"])
def test_a_token_without_what_is_checked_is_refused(
    issuer: Issuer, tokens: OidcTokens, missing: str
) -> None:
    with pytest.raises(Unauthorised):
        tokens.verify(issuer.sign(**{missing: None}))


def test_a_token_that_the_issuer_has_not_signed_is_refused(
    issuer: Issuer, tokens: OidcTokens
) -> None:
    good, ((key,), body) = issuer.sign(), (issuer.keys(), claims(issuer))
    header, payload, signature = good.split(".")
    tokens.verify(good)
    for forged in (
        f"{header}.{text(body)}.{signature}",
        f"{text({'alg': 'none', 'typ': 'JWT'})}.{payload}.",
        f"{text({'alg': 'none', 'kid': key['kid']})}.{payload}.{signature}",
        jwt.encode(body, another_key(), "RS256", {"kid": key["kid"]}),
        jwt.encode(body, another_key(), "RS256"),
    ):
        with pytest.raises(Unauthorised):
            tokens.verify(forged)


def test_the_public_key_is_no_secret_to_sign_with(issuer: Issuer, tokens: OidcTokens) -> None:
    (key,) = issuer.keys()
    public = PyJWK(key, "RS256").key
    signed = f"{text({'alg': 'HS256', 'kid': key['kid']})}.{text(claims(issuer))}"
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(key).encode(),
    ):
        signature = hmac.digest(secret, signed.encode(), "sha256")
        forged = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        with pytest.raises(Unauthorised):
            tokens.verify(f"{signed}.{forged}")


NESTED = base64.urlsafe_b64encode(b"[" * 30_000).decode()

PART = text({"sub": "eve"})


@pytest.mark.parametrize(
    "token",
    [
        *("pk_some-key", "a.b.c", "..", "é.é.é", f"{PART}.{PART}.{PART}"),
        *(f"{text({'alg': 'RS256'})}.{PART}.x", f"{NESTED}.{PART}.{PART}"),
        f"{text({'alg': 'RS256', 'kid': 7})}.{PART}.{PART}",
        f"{text({'alg': 'RS256'})}.{NESTED}.{PART}",
    ],
)
def test_what_is_no_token_is_refused(tokens: OidcTokens, token: str) -> None:
    with pytest.raises(Unauthorised):
        tokens.verify(token)


def test_the_keys_are_read_once_and_again_for_a_key_that_is_not_among_them(
    issuer: Issuer,
) -> None:
    patient, eager = tokens_of(issuer.url, refresh_s=HOUR_S), tokens_of(issuer.url, refresh_s=0)
    before, old = issuer.reads(), issuer.sign()
    for _ in range(3):
        patient.verify(old)
        eager.verify(old)
    assert issuer.reads() == before + 2
    issuer.rotate()
    new = issuer.sign()
    for _ in range(3):  # whoever sends unknown keys does not have them read each time
        with pytest.raises(Unauthorised):
            patient.verify(new)
    assert issuer.reads() == before + 2
    eager.verify(new)
    assert issuer.reads() == before + 3
    with pytest.raises(Unauthorised):
        eager.verify(old)


def test_tokens_that_no_key_could_make_valid_have_no_keys_read(issuer: Issuer) -> None:
    before = issuer.reads()
    for header in ({"alg": "none"}, {"alg": "HS256", "kid": "k"}, {"kid": "k"}):
        with pytest.raises(Unauthorised):
            tokens_of(issuer.url).verify(f"{text(header)}.{text(claims(issuer))}.{PART}")
    assert issuer.reads() == before


def test_while_keys_are_read_for_an_unknown_one_no_other_token_waits(issuer: Issuer) -> None:
    tokens, good = tokens_of(issuer.url, refresh_s=0, read_s=HOUR_S), issuer.sign()
    unknown = jwt.encode(claims(issuer), another_key(), "RS256", {"kid": "unknown"})
    tokens.verify(good)
    with ThreadPoolExecutor() as pool, issuer.silent():
        asked = [pool.submit(tokens.verify, unknown) for _ in range(4)]
        wait_for(lambda: sum(one.done() for one in asked) == 3, seconds=60)
        (reading,) = [one for one in asked if not one.done()]
        for one in asked:
            if one is not reading:
                with pytest.raises(IssuerUnavailable):
                    one.result()
        assert tokens.verify(good)["sub"] == "ann"
        assert not reading.done()
    with pytest.raises(Unauthorised):
        reading.result()


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_an_issuer_that_does_not_answer_is_unavailable(issuer: Issuer, silent: str) -> None:
    token = issuer.sign()
    for url in (
        f"http://127.0.0.1:{free_port()}",
        silent,
        f"{issuer.url}/nothing/here",
        f"{issuer.url}/odd",
        "https://a:b",
    ):
        with pytest.raises(IssuerUnavailable):
            tokens_of(url, read_s=0.2).verify(token)


def another_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
