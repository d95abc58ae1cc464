"""Advice on what the parent recognises already, from a sample of the images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.domain.advice.finding import Finding, Severity, listed, percent
from core.domain.datasets.manifest import Manifest, ManifestEntry
from core.domain.values import counted

PER_CLASS = 20  # sampled images
MOST = 400  # of all classes together
KNOWN = 0.9  # share of its sampled images from which on a class counts as known


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """The count of sampled images, and of those that the parent recognises."""

    right: int
    asked: int

    @property
    def share(self) -> float:
        """The parent's zero-shot accuracy."""
        return self.right / self.asked


def sample(manifest: Manifest) -> tuple[ManifestEntry, ...]:
    """Return at most `PER_CLASS` images of each class, one of each group of near-duplicates.

    Entries are sorted by their pixels' SHA-256, so the first ones are a random choice that is
    always the same.
    """
    each = min(PER_CLASS, max(1, MOST // len(manifest.classes)))
    found: dict[str, dict[str, ManifestEntry]] = {}
    for entry in manifest.entries:
        groups = found.setdefault(entry.class_name, {})
        if len(groups) < each:
            groups.setdefault(entry.group, entry)
    return tuple(entry for groups in found.values() for entry in groups.values())[:MOST]


def recognitions(
    asked: Sequence[ManifestEntry], answers: Sequence[str]
) -> Mapping[str, Recognition]:
    """Count right answers by class; names that differ only in case have the same prompt."""
    right: dict[str, list[bool]] = {}
    for entry, answer in zip(asked, answers, strict=True):
        right.setdefault(entry.class_name, []).append(answer.lower() == entry.class_name.lower())
    return {name: Recognition(right=sum(hits), asked=len(hits)) for name, hits in right.items()}


def overall(recognised: Mapping[str, Recognition]) -> Recognition:
    """Return the sum over all classes."""
    return Recognition(
        right=sum(one.right for one in recognised.values()),
        asked=sum(one.asked for one in recognised.values()),
    )


def zero_shot_findings(
    recognised: Mapping[str, Recognition], *, competing: int
) -> Iterator[Finding]:
    """Yield how much the parent recognises among `competing` classes, and which it knows."""
    total = overall(recognised)
    classes = "class" if competing == 1 else "classes"
    yield Finding(
        code="zero_shot",
        severity=Severity.INFO,
        message=f"The parent recognises {total.right:,} of {counted(total.asked, 'sampled image')} "
        f"({percent(total.share)}) among {competing:,} {classes}.",
        facts={"right": total.right, "asked": total.asked},
    )
    known = {name: one for name, one in recognised.items() if one.share >= KNOWN}
    if known:
        shown = listed([f"{name} ({one.right} of {one.asked})" for name, one in known.items()])
        yield Finding(
            code="class_known",
            severity=Severity.WARNING,
            message=f"The parent already recognises at least {percent(KNOWN)} of these classes' "
            f"sampled images: {shown}. Leave these classes out unless the rest must improve.",
            facts={"classes": list(known)},
        )


def zero_shot_unknown(reason: str) -> Finding:
    """Return the finding that the parent could not be asked."""
    return Finding(
        code="zero_shot_unknown",
        severity=Severity.WARNING,
        message=f"What the parent already recognises is unknown. {reason}",
        facts={"reason": reason},
    )
