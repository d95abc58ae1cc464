"""Bearer tokens of an OpenID Connect issuer: JWTs (RFC 7519), checked as RFC 8725 advises."""

import logging

import jwt

from core.adapters.tokens.issuer_keys import IssuerKeys
from core.domain.values import Json
from core.errors import IssuerUnavailable, Unauthorised

log = logging.getLogger(__name__)

# Asymmetric ones only: with HS256, whoever knows a public key could sign with it as the secret.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)


class OidcTokens:
    """The `TokenVerifier` port for the tokens that one issuer gives for one audience."""

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
