"""Schemas of bundles: the key that signs them, and the origins of imported versions."""

from typing import Any

from pydantic import Field

from api.http.schemas import ResponseModel


class SigningKeyView(ResponseModel):
    """The public half of the key that signs this service's bundles."""

    algorithm: str = Field(examples=["ed25519"])
    key_id: str = Field(description="SHA-256 of the SubjectPublicKeyInfo.")
    public_key: str = Field(
        validation_alias="encoded",
        description="SubjectPublicKeyInfo (RFC 8410) in base64, as a service that is to import the "
        "bundles takes it in PERENNIAL_TRUSTED_KEYS.",
    )
    pem: str


class OriginDocument(ResponseModel):
    """The statement of the bundle that a version was imported from."""

    model: str = Field(description="The model's name there.")
    line: list[dict[str, Any]] = Field(
        description="The versions that it was trained from and, last, itself: digests, recipes, "
        "datasets and reference sets by name and manifest, classes, verdicts and the digests of "
        "reports."
    )
    suites: list[dict[str, Any]] = Field(description="The model's suites there, by manifest.")
    policy: dict[str, Any] = Field(description="The model's policy there.")
    reports: dict[str, dict[str, Any]] = Field(
        description="The forgetting reports of the line, by version there. They are foreign: the "
        "gate here does not count them."
    )
    links: dict[str, str]
