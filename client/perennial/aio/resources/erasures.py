"""Erasures: images taken back from all that holds them or has learned from them."""

from collections.abc import AsyncIterator, Sequence
from typing import cast

from perennial.aio.connection import Connection
from perennial.request_parts import given, idempotency, path_of
from perennial.types.erasures import Certificate, Erasure, Retraining


class Erasures:
    """The verbs of erasures."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def order(
        self,
        images: Sequence[str],
        *,
        reason: str,
        retrain: Retraining | None = None,
        idempotency_key: str | None = None,
    ) -> Erasure:
        """Order that images be erased, named by the digests of their pixels.

        `retrain` says which of the versions that learned from them are trained again.
        """
        body = given(images=list(images), reason=reason, retrain=retrain)
        headers = idempotency(idempotency_key)
        return cast(
            Erasure, await self._connection.post(path_of("erasures"), body, headers=headers)
        )

    async def get(self, erasure: str) -> Erasure:
        """Return an erasure, and how far it has come."""
        return cast(Erasure, await self._connection.get(path_of("erasures", erasure)))

    def list(self) -> AsyncIterator[Erasure]:
        """Yield all erasures, oldest first."""
        return self._connection.pages(path_of("erasures"))

    async def certificate(self, erasure: str) -> Certificate:
        """Return the certificate of an erasure that has ended."""
        return cast(
            Certificate, await self._connection.get(path_of("erasures", erasure, "certificate"))
        )
