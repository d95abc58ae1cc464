"""A process that ends at any of its writes to Qdrant."""

from qdrant_client import QdrantClient


class Killed(BaseException):
    """The process is gone."""


class DeadlyQdrant(QdrantClient):
    """Qdrant's client in a process that ends at its nth write, before or after it."""

    left = 0

    def _dies(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def _deadly(name: str) -> None:
    real = getattr(QdrantClient, name)

    def write(self: DeadlyQdrant, *given: object, **named: object) -> object:
        self._dies()
        done = real(self, *given, **named)
        self._dies()
        return done

    setattr(DeadlyQdrant, name, write)


for _name in (
    "create_collection",
    "upsert",
    "delete",
    "delete_collection",
    "update_collection_aliases",
):
    _deadly(_name)
