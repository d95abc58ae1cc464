"""Copy artifacts from one store into another, each of them verified."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from core.domain.values import Digest
from core.errors import ArtifactCorrupt, ArtifactMissing
from core.ports import Artifacts

AT_ONCE = 4  # artifacts, each of them in memory
BATCH = 200  # checked at least this often for a full disk


@dataclass(kw_only=True)
class Copied:
    """The result of copying artifacts."""

    kept: set[Digest] = field(default_factory=set)  # whole in the target before
    copied: dict[Digest, int] = field(default_factory=dict)  # digest to bytes
    missing: set[Digest] = field(default_factory=set)  # in the source; nor is it in the target
    damaged: set[Digest] = field(default_factory=set)  # in the source; nor is it in the target

    @property
    def lost(self) -> set[Digest]:
        """The artifacts that the target does not hold."""
        return self.missing | self.damaged


def copy_artifacts(
    source: Artifacts, target: Artifacts, digests: Iterable[Digest], done: Copied
) -> None:
    """Copy artifacts into the target, except those that are intact there or are in `done`.

    Afterwards each has been read and matches its digest, except those that `done` lists as lost.
    Raises StorageFull or ArtifactsUnavailable.
    """

    def copy(digest: Digest) -> int | ArtifactMissing | ArtifactCorrupt | None:
        if _is_whole(target, digest):
            return None
        try:
            data = source.get(digest)
        except (ArtifactMissing, ArtifactCorrupt) as fault:
            return fault
        target.put(data)
        return len(data)

    waiting = iter([one for one in digests if one not in done.kept and one not in done.copied])
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="copy") as pool:
        while batch := list(islice(waiting, BATCH)):
            for digest, result in zip(batch, pool.map(copy, batch), strict=True):
                _note(done, digest, result)


def _note(
    done: Copied, digest: Digest, result: int | ArtifactMissing | ArtifactCorrupt | None
) -> None:
    done.missing.discard(digest)
    done.damaged.discard(digest)
    match result:
        case None:
            done.kept.add(digest)
        case int():
            done.copied[digest] = result
        case ArtifactMissing():
            done.missing.add(digest)
        case ArtifactCorrupt():
            done.damaged.add(digest)


def _is_whole(store: Artifacts, digest: Digest) -> bool:
    try:
        store.get(digest)
    except (ArtifactMissing, ArtifactCorrupt):
        return False
    return True
