"""The difference between two versions of a dataset."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.datasets.manifests import Manifest
from core.datasets.rules import DatasetKind
from core.values import Digest


class ChangeKind(StrEnum):
    """The change of an image between the version compared with and this one."""

    ADDED = "added"
    REMOVED = "removed"
    MOVED = "moved"  # to another class, or it has other captions


@dataclass(frozen=True, kw_only=True)
class Change:
    """An image that only one of two versions holds, or both with different texts."""

    pixels: Digest
    before: tuple[str, ...]  # its class or captions; empty if it was not there
    after: tuple[str, ...]  # likewise

    @property
    def kind(self) -> ChangeKind:
        """The kind of change."""
        if not self.before:
            return ChangeKind.ADDED
        return ChangeKind.MOVED if self.after else ChangeKind.REMOVED


@dataclass(frozen=True, kw_only=True)
class ClassDiff:
    """The numbers of images that a class gained and lost."""

    added: int
    removed: int
    moved_in: int
    moved_out: int


@dataclass(frozen=True, kw_only=True)
class Diff:
    """The changes from one version to another, by pixels."""

    changes: tuple[Change, ...]
    counts: Mapping[ChangeKind, int]
    classes: Mapping[str, ClassDiff]  # those with a change; empty for captions

    @classmethod
    def between(cls, before: Manifest, after: Manifest) -> "Diff":
        """Return the difference between two versions of a dataset."""
        old = {entry.pixels: entry.texts for entry in before.entries}
        new = {entry.pixels: entry.texts for entry in after.entries}
        changes = tuple(
            Change(pixels=pixels, before=old.get(pixels, ()), after=new.get(pixels, ()))
            for pixels in sorted(old.keys() | new.keys())
            if old.get(pixels) != new.get(pixels)
        )
        labelled = after.kind is DatasetKind.LABELLED
        counts = Counter(change.kind for change in changes)
        return cls(
            changes=changes,
            counts={kind: counts[kind] for kind in ChangeKind},
            classes=_by_class(changes) if labelled else {},
        )


def _by_class(changes: tuple[Change, ...]) -> dict[str, ClassDiff]:
    lost = Counter((change.kind, name) for change in changes for name in change.before)
    gained = Counter((change.kind, name) for change in changes for name in change.after)
    names = sorted({name for _, name in (*lost, *gained)})
    return {
        name: ClassDiff(
            added=gained[ChangeKind.ADDED, name],
            removed=lost[ChangeKind.REMOVED, name],
            moved_in=gained[ChangeKind.MOVED, name],
            moved_out=lost[ChangeKind.MOVED, name],
        )
        for name in names
    }
