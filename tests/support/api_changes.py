"""What a client of a released API document would miss in a newer one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.principal import Role

Schema = Mapping[str, Any]

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")

LOWER, UPPER = ("minimum", "minLength", "minItems"), ("maximum", "maxLength", "maxItems")


def incompatibilities(old: Schema, new: Schema) -> list[str]:
    """Sentences, each about a request that fails now or a reply that has lost what it had.

    New operations, optional parameters, fields of replies and values of their enumerations are
    compatible: clients ignore what they do not know.
    """
    return [*_Comparison(old=old, new=new).run()]


@dataclass(frozen=True)
class _Comparison:
    old: Schema
    new: Schema
    seen: set[tuple[str, str, bool]] = field(default_factory=set)  # pairs of named schemas

    def run(self) -> Iterator[str]:
        for path, operations in self.old["paths"].items():
            for method in METHODS:
                if method not in operations:
                    continue
                name = f"{method.upper()} {path}"
                found = self.new["paths"].get(path, {}).get(method)
                if found is None:
                    yield f"{name} is gone"
                else:
                    yield from self._operation(name, operations[method], found)

    def _operation(self, name: str, old: Schema, new: Schema) -> Iterator[str]:
        if old["operationId"] != new["operationId"]:
            yield f"{name} has another operationId"
        if new.get("security") and not old.get("security"):
            yield f"{name} needs a key"
        yield from _higher_role(name, old, new)
        yield from self._parameters(name, old, new)
        yield from self._body(name, old.get("requestBody"), new.get("requestBody"))
        for status, reply in old["responses"].items():
            if status.startswith("2"):
                yield from self._reply(f"{name} {status}", reply, new["responses"].get(status))

    def _parameters(self, name: str, old: Schema, new: Schema) -> Iterator[str]:
        before, now = (
            {(one["in"], one["name"]): one for one in operation.get("parameters", ())}
            for operation in (old, new)
        )
        for key, parameter in now.items():
            if parameter.get("required") and not before.get(key, {}).get("required"):
                yield f"{name} requires parameter {key[1]}"
        for key, parameter in before.items():
            if key not in now:
                yield f"{name} has no parameter {key[1]}"
            else:
                where = f"{name} ?{key[1]}"
                yield from self._values(where, parameter["schema"], now[key]["schema"], sent=True)

    def _body(self, name: str, old: Schema | None, new: Schema | None) -> Iterator[str]:
        if new and new.get("required") and not (old and old.get("required")):
            yield f"{name} requires a body"
        for media, content in (old or {}).get("content", {}).items():
            now = (new or {}).get("content", {}).get(media)
            if now is None:
                yield f"{name} takes no {media}"
            else:
                yield from self._values(f"{name} body", content["schema"], now["schema"], sent=True)

    def _reply(self, name: str, old: Schema, new: Schema | None) -> Iterator[str]:
        if new is None:
            yield f"{name} is gone"
            return
        for media, content in old.get("content", {}).items():
            now = new.get("content", {}).get(media)
            if now is None:
                yield f"{name} has no {media}"
            elif "schema" in content:
                yield from self._values(name, content["schema"], now["schema"], sent=False)

    def _values(self, where: str, old: Schema, new: Schema, *, sent: bool) -> Iterator[str]:
        """Compare schemas of what a client sends, or else of what it is sent."""
        names = (old.get("$ref", ""), new.get("$ref", ""), sent)
        if all(names[:2]):
            if names in self.seen:
                return
            self.seen.add(names)
        before, now = _variants(self.old, old), _variants(self.new, new)
        accepting, giving = (now, before) if sent else (before, now)
        for kind in giving:
            if kind not in accepting and not _fits(kind, accepting):
                yield f"{where} {'does not take' if sent else 'may be'} {kind}"
        for kind in before.keys() & now.keys():
            yield from self._variant(where, before[kind], now[kind], sent=sent)

    def _variant(self, where: str, old: Schema, new: Schema, *, sent: bool) -> Iterator[str]:
        if sent:
            yield from _narrower(where, old, new)
        before, now = old.get("properties", {}), new.get("properties", {})
        required, still = old.get("required", ()), new.get("required", ())
        if sent:
            yield from (f"{where}.{name} is required" for name in still if name not in required)
        else:
            yield from (
                f"{where}.{name} may be missing"
                for name in required
                if name in now and name not in still
            )
        for name, value in before.items():
            if name not in now:
                yield f"{where}.{name} is gone"
            else:
                yield from self._values(f"{where}.{name}", value, now[name], sent=sent)
        for inner in ("items", "additionalProperties"):
            if isinstance(old.get(inner), dict) and isinstance(new.get(inner), dict):
                yield from self._values(f"{where}[]", old[inner], new[inner], sent=sent)


def _higher_role(name: str, old: Schema, new: Schema) -> Iterator[str]:
    """Compare the roles that an operation takes; before it named one, every key was an admin's."""
    if "x-required-role" in new:
        now = Role(new["x-required-role"])
        if not Role(old.get("x-required-role", Role.ADMIN)).includes(now):
            yield f"{name} takes the role {now}"


def _variants(document: Schema, schema: Schema) -> dict[str, Schema]:
    """The alternatives of a schema by kind: a type, or an object's distinguishing constant."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _variants(document, document["components"]["schemas"][name])
    for together in ("anyOf", "oneOf", "allOf"):
        if together in schema:
            found: dict[str, Schema] = {}
            for each in schema[together]:
                found |= _variants(document, each)
            return found
    constants = [
        f"{name}={value['const']}"
        for name, value in schema.get("properties", {}).items()
        if "const" in value
    ]
    return {" ".join([schema.get("type", "any value"), *constants]): schema}


def _fits(kind: str, accepting: Mapping[str, Schema]) -> bool:
    return "any value" in accepting or (kind == "integer" and "number" in accepting)


def _narrower(where: str, old: Schema, new: Schema) -> Iterator[str]:
    before, now = _enumerated(old), _enumerated(new)
    if now is not None:
        lost = ["other values"] if before is None else [str(v) for v in before if v not in now]
        yield from (f"{where} does not take {value}" for value in lost)
    for name in LOWER:
        if name in new and new[name] > old.get(name, float("-inf")):
            yield f"{where} has {name} {new[name]}"
    for name in UPPER:
        if name in new and new[name] < old.get(name, float("inf")):
            yield f"{where} has {name} {new[name]}"
    if new.get("pattern", old.get("pattern")) != old.get("pattern"):
        yield f"{where} has another pattern"


def _enumerated(schema: Schema) -> Sequence[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: Sequence[Any] | None = schema.get("enum")
    return values
