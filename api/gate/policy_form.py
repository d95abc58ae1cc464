"""The form of a policy, in percent and counts, and what it asks for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from api.gate.schemas import NewPolicy
from api.pages.forms import names_field, percent_field, whole_field
from core.errors import FieldInvalid
from core.gate.policies import clean_policy
from core.gate.rules import GatePolicy
from core.values import PolicyId, new_id

Fields = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class PolicyField:
    """A field of the form, in percent or a count; its bounds are those of `NewPolicy`."""

    name: str
    label: str
    unit: str = "points"
    optional: str = ""  # what an empty field means

    @property
    def counts(self) -> bool:
        """True for a whole number, False for percent."""
        return self.unit in {"images", "verdicts"}

    @property
    def low(self) -> str:
        """The least value, in the field's unit."""
        return _shown(self._bound("ge", "gt"), self)

    @property
    def high(self) -> str:
        """The largest value, in the field's unit."""
        return _shown(self._bound("le"), self)

    @property
    def words(self) -> str:
        """The bounds as an error message states them."""
        if self._bound("ge") is None:
            return f"{self.label}: above {self.low}, at most {self.high} {self.unit}."
        return f"{self.label}: from {self.low} to {self.high} {self.unit}."

    def _bound(self, *kinds: str) -> float | None:
        bounds = NewPolicy.model_fields[self.name].metadata
        found = (getattr(bound, kind, None) for bound in bounds for kind in kinds)
        return next((value for value in found if value is not None), None)


FIELDS = (
    PolicyField(name="parent_tolerance", label="Suites may lose, against parent and live version"),
    PolicyField(name="root_tolerance", label="Suites may lose, against the root"),
    PolicyField(
        name="union_tolerance", label="Suites may lose, with all learned classes to choose from too"
    ),
    PolicyField(
        name="holdout_tolerance",
        label="Holdouts of other updates may lose, over both lists of classes",
    ),
    PolicyField(name="settled_tolerance", label="Holdouts may lose, against the settled version"),
    PolicyField(name="wanted_gain", label="Wanted gain on the update's own holdout"),
    PolicyField(
        name="negative_flips",
        label="Right answers of a suite that may be wrong now",
        unit="%",
        optional="not judged",
    ),
    PolicyField(name="minimum_count", label="Guards from", unit="images"),
    PolicyField(name="alpha", label="Error of each bound", unit="%"),
    PolicyField(
        name="line_error",
        label="Error of the whole line",
        unit="%",
        optional="no budget",
    ),
    PolicyField(name="line_updates", label="Half of it is spent in", unit="verdicts"),
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The suites and the policy that a form asks for; None where nothing would change."""

    suites: Sequence[str] | None  # names
    policy: GatePolicy | None


def form_of(policy: GatePolicy, suites: Sequence[str], name: str) -> dict[str, str]:
    """Return the fields as they are shown at first; `name` is that of a new policy."""
    shown = {one.name: _shown(getattr(policy, one.name), one) for one in FIELDS}
    pairs = pairs_text(policy.same_names, "\n")
    return shown | {"same_names": pairs, "suites": "\n".join(suites), "name": name}


def pairs_text(pairs: Iterable[tuple[str, str]], between: str) -> str:
    """Return pairs of names as the form has them: "bag = handbag"."""
    return between.join(" = ".join(pair) for pair in pairs)


def _pairs(fields: Fields) -> list[list[str]]:
    """Return the pairs of names in the form, one a line. Raises FieldInvalid."""
    found = []
    for row in filter(str.strip, fields.get("same_names", "").splitlines()):
        one, equals, other = row.partition("=")
        if not (one.strip() and equals and other.strip()) or "=" in other:
            raise FieldInvalid(
                f"Names that mean the same: two in a line, as in 'bag = handbag'; not {row!r}.",
                pointer="/same_names",
            )
        found.append([one.strip(), other.strip()])
    return found


def wanted_of(
    fields: Fields, policy: GatePolicy, suites: Sequence[str], now: datetime, reason: str = ""
) -> Wanted:
    """Return what a form asks for, beside the present policy and suites.

    Raises FieldInvalid, or what `clean_policy` raises.
    """
    values = {one.name: _value(fields, one) for one in FIELDS}
    named = {"name": fields.get("name", ""), "reason": reason}
    try:
        asked = NewPolicy.model_validate({**named, **values, "same_names": _pairs(fields)})
    except ValidationError as error:
        raise _refusal(error) from error
    new = clean_policy(asked.policy(PolicyId(new_id("gate", now)), now))
    rules = (*(one.name for one in FIELDS), "same_names")
    same = all(getattr(new, name) == getattr(policy, name) for name in rules)
    names = names_field(fields, "suites")
    wanted = Wanted(suites=None if names == list(suites) else names, policy=None if same else new)
    if wanted.suites is None and wanted.policy is None:
        raise FieldInvalid("Nothing would change: the model is already judged by this.")
    return wanted


def changes_of(
    wanted: Wanted, policy: GatePolicy, suites: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield what would change: what, from and to."""
    if wanted.policy is not None:
        yield "Policy", policy.name, wanted.policy.name
        for one in FIELDS:
            before, now = (getattr(each, one.name) for each in (policy, wanted.policy))
            if before != now:
                yield one.label, _told(before, one), _told(now, one)
        names, new = (pairs_text(each.same_names, ", ") for each in (policy, wanted.policy))
        if names != new:
            yield "Names that mean the same", names or "none", new or "none"
    if wanted.suites is not None:
        yield "Suites", ", ".join(suites) or "none", ", ".join(wanted.suites) or "none"


def _shown(value: float | None, field: PolicyField) -> str:
    if value is None:
        return ""
    return str(value) if field.counts else f"{100 * value:.10g}"


def _told(value: float | None, field: PolicyField) -> str:
    return field.optional if value is None else f"{_shown(value, field)} {field.unit}"


def _value(fields: Fields, field: PolicyField) -> float | None:
    text = fields.get(field.name, "")
    if not text and field.optional:
        return None
    return whole_field(fields, field.name) if field.counts else percent_field(fields, field.name)


def _refusal(error: ValidationError) -> FieldInvalid:
    """Return the refusal of the first field that breaks a bound, in the form's words."""
    [first, *_] = error.errors()
    name = str(first["loc"][0])
    words = next((one.words for one in FIELDS if one.name == name), f"{name}: {first['msg']}.")
    return FieldInvalid(words, pointer=f"/{name}")
