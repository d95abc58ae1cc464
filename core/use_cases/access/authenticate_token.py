"""Bearer tokens of an OpenID Connect issuer: who brings one, and what it allows."""

from core.domain.access.principal import Principal
from core.domain.access.roles import Role
from core.domain.access.token import TokenRules, subject_of
from core.ports import Platform, TokenVerifier
from core.settings import Settings

ACTOR = "oidc:"  # no key's name has a colon


def authenticate_token(platform: Platform, tokens: TokenVerifier, token: str) -> Principal:
    """Return who brings a token. Raises Unauthorised or IssuerUnavailable.

    A token whose claims give no role is valid, but allows nothing.
    """
    claims = tokens.verify(token)
    rules = rules_of(platform.settings)
    names, models = rules.models_of(claims), None
    if names is not None:
        with platform.transactions(read_only=True) as work:
            models = frozenset(work.models.ids_of(names))
    return Principal(name=ACTOR + subject_of(claims), role=rules.role_of(claims), models=models)


def rules_of(settings: Settings) -> TokenRules:
    """Return what the settings say of claims."""
    given = settings.oidc_roles or {role.value: role.value for role in Role}
    return TokenRules(
        role_claim=settings.oidc_role_claim,
        roles={value: Role(role) for value, role in given.items()},
        models_claim=settings.oidc_models_claim or None,
    )
