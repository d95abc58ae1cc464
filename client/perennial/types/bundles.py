"""Bundles of versions."""

from typing import Any, TypedDict


class SigningKey(TypedDict):
    """The public half of the key that signs a service's bundles."""

    algorithm: str
    key_id: str  # SHA-256 of the SubjectPublicKeyInfo
    public_key: str  # SubjectPublicKeyInfo in base64
    pem: str


class OriginDocument(TypedDict):
    """The statement of the bundle that a version was imported from."""

    model: str
    line: list[dict[str, Any]]  # root first; the last is the version
    suites: list[dict[str, Any]]
    policy: dict[str, Any]
    reports: dict[str, dict[str, Any]]  # by version there
    links: dict[str, str]
