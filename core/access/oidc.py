"""The keys of an OpenID Connect issuer, and the bearer tokens that they sign."""

import logging
import ssl
import time
from threading import Lock
from typing import Any

import httpx
import jwt
from jwt import PyJWK, PyJWKClient, PyJWKClientConnectionError, PyJWKClientError, PyJWKSet

from core.access.rules import is_confidential
from core.errors import IssuerUnavailable, Unauthorised
from core.values import Json

log = logging.getLogger(__name__)

KEEP_S = 600.0  # the keys are read again after this
REFRESH_S = 30.0  # a token with an unknown key has them read again, but not sooner than this
PAUSE_S = 5.0  # after a failure
READ_S = 5.0  # the longest wait for the issuer


class IssuerKeys(PyJWKClient):
    """The keys that an issuer's discovery document leads to.

    The document is read again with the keys, which may move. After a failure nothing is read for
    a moment, so that requests do not wait for an issuer that is down. Nor do those whose key is
    known wait while the keys are read again for one that is not: anybody can send such a token.
    """

    def __init__(
        self,
        issuer: str,
        *,
        refresh_s: float = REFRESH_S,
        pause_s: float = PAUSE_S,
        read_s: float = READ_S,
    ) -> None:
        self._tls = ssl.create_default_context()
        self._issuer = issuer
        self._discovery = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
        self._pause_s = pause_s
        self._paused_until = 0.0
        self._reading_again = Lock()
        super().__init__(
            self._discovery,
            lifespan=KEEP_S,
            timeout=read_s,
            cooldown_duration=refresh_s,
        )

    def named(self, kid: str | None) -> PyJWK:
        """Return the key of this id; a token may name none if the issuer has a single key.

        Raises PyJWKClientError if there is no such key, and PyJWKClientConnectionError.
        """
        if kid is None:
            return self._only()
        if self.jwk_set_cache is None or self.jwk_set_cache.get() is None:
            return self.get_signing_key(kid)
        return self.match_kid(self.get_signing_keys(), kid) or self._read_again_for(kid)

    def _only(self) -> PyJWK:
        keys = self.get_signing_keys()
        if len(keys) > 1:
            raise PyJWKClientError("the token does not say which key has signed it")
        return keys[0]

    def _read_again_for(self, kid: str) -> PyJWK:
        if not self._reading_again.acquire(blocking=False):
            raise PyJWKClientConnectionError("the keys are being read again for another token")
        try:
            return self.get_signing_key(kid)
        finally:
            self._reading_again.release()

    def fetch_data(self) -> PyJWKSet:
        """Read the keys. Raises PyJWKClientConnectionError, whatever goes wrong."""
        if time.monotonic() < self._paused_until:
            raise PyJWKClientConnectionError("the issuer did not answer a moment ago")
        try:
            keys = PyJWKSet.from_dict(self._read(self._discover()))
        except Exception as error:
            self._paused_until = time.monotonic() + self._pause_s
            log.warning("the issuer's keys could not be read: %s", error)
            raise PyJWKClientConnectionError(str(error)) from error
        self._last_successful_fetch = time.monotonic()
        return keys

    def _discover(self) -> str:
        """Return where the issuer says that its keys are."""
        document = self._read(self._discovery)
        if document.get("issuer") != self._issuer:
            raise ValueError(f"{self._discovery} does not describe the issuer {self._issuer}")
        keys = document.get("jwks_uri")
        if not isinstance(keys, str) or not is_confidential(keys):
            raise ValueError(f"{self._discovery} names no jwks_uri with https")
        return keys

    def _read(self, url: str) -> dict[str, Any]:
        """Return the JSON object at a URL; no redirect is followed."""
        by_proxy = url.startswith("https:")  # a proxy could replace what comes by http
        answer = httpx.get(url, timeout=self.timeout, verify=self._tls, trust_env=by_proxy)
        return dict(answer.raise_for_status().json())


# Bearer tokens: JWTs (RFC 7519), checked as RFC 8725 advises.

# Asymmetric ones only: with HS256, whoever knows a public key could sign with it as the secret.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)


class OidcTokens:
    """Checks the tokens that one issuer gives for one audience."""

    def __init__(self, keys: IssuerKeys, *, issuer: str, audience: str, leeway_s: float) -> None:
        """Set what tokens must say; `leeway_s` is how far the two clocks may differ."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s

    def verify(self, token: str) -> Json:
        """Return the claims of a valid token. Raises Unauthorised or IssuerUnavailable."""
        try:
            return self._claims(token)
        except jwt.PyJWKClientConnectionError as error:
            raise IssuerUnavailable from error
        except jwt.PyJWTError as error:
            log.info("a token was refused: %s", type(error).__name__)
            raise Unauthorised from error

    def _claims(self, token: str) -> Json:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS:  # before any key is read for it
            raise jwt.InvalidAlgorithmError
        return jwt.decode(
            token,
            self._keys.named(header.get("kid")),
            algorithms=ALGORITHMS,
            issuer=self._issuer,
            audience=self._audience,
            leeway=self._leeway_s,
            options={"require": ["iss", "aud", "sub", "exp"], "enforce_minimum_key_length": True},
        )
