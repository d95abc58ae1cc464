"""The form of a policy, in percent and counts, and what it asks for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from api.gate.schemas import NewPolicy
from api.pages.forms import names_field, percent_field, whole_field
from core.errors import FieldInvalid
from core.gate.fields import Limit
from core.gate.policies import clean_policy
from core.gate.rules import LIMITS, GatePolicy
from core.values import PolicyId, new_id

Fields = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The suites and the policy that a form asks for; None where nothing would change."""

    suites: Sequence[str] | None  # names
    policy: GatePolicy | None


def form_of(policy: GatePolicy, suites: Sequence[str], name: str) -> dict[str, str]:
    """Return the fields as they are shown at first; `name` is that of a new policy."""
    values = {name: getattr(policy, name) for name in LIMITS}
    shown = {
        name: "" if value is None else LIMITS[name].number(value) for name, value in values.items()
    }
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
    values = {name: _value(fields, name) for name in LIMITS}
    named = {"name": fields.get("name", ""), "reason": reason}
    try:
        asked = NewPolicy.model_validate({**named, **values, "same_names": _pairs(fields)})
    except ValidationError as error:
        raise _refusal(error) from error
    new = clean_policy(asked.policy(PolicyId(new_id("gate", now)), now))
    rules = (*LIMITS, "same_names")
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
        for name, limit in LIMITS.items():
            before, now = (getattr(each, name) for each in (policy, wanted.policy))
            if before != now:
                yield limit.label, limit.shown(before), limit.shown(now)
        names, new = (pairs_text(each.same_names, ", ") for each in (policy, wanted.policy))
        if names != new:
            yield "Names that mean the same", names or "none", new or "none"
    if wanted.suites is not None:
        yield "Suites", ", ".join(suites) or "none", ", ".join(wanted.suites) or "none"


def _value(fields: Fields, name: str) -> float | None:
    if not fields.get(name) and LIMITS[name].optional:
        return None
    return whole_field(fields, name) if LIMITS[name].counts else percent_field(fields, name)


def bounds_told(limit: Limit) -> str:
    """Return the bounds of a field: "from 0 to 100 points"."""
    low, high = limit.number(limit.low), limit.shown(limit.high)
    return f"above {low}, at most {high}" if limit.above_low else f"from {low} to {high}"


def _refusal(error: ValidationError) -> FieldInvalid:
    """Return the refusal of the first field that breaks a bound, in the form's words."""
    [first, *_] = error.errors()
    name = str(first["loc"][0])
    limit = LIMITS.get(name)
    words = f"{limit.label}: {bounds_told(limit)}." if limit else f"{name}: {first['msg']}."
    return FieldInvalid(words, pointer=f"/{name}")
