"""Write the types of replies from docs/openapi.json: `make install`, or this file as a script.

Each schema that a reply may hold becomes a TypedDict, or a Literal of the values of an enumeration,
by its name without "View". Pages have no type: the client yields what they hold. The filters of a
list of `FILTERS` become a TypedDict too, from which the command takes its options, and so do the
fields of a request of `REQUESTS` that may be left out.

datamodel-code-generator writes such types too. It would bring 22 packages into every build, its
`closed=True` needs one at run time, and it drops the descriptions beside a field named `class`.
"""

import json
import keyword
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CLIENT = Path(__file__).parents[1]
DOCUMENT = CLIENT.parent / "docs" / "openapi.json"
TYPES = CLIENT / "perennial" / "types.py"
HEAD = '''\
# Written by building/reply_types.py from docs/openapi.json: change the schemas of the API.
"""The types of replies, of the filters of lists, and of the fields of some requests.

Times in replies are texts, as in RFC 3339.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, TypedDict
'''
FILTERS = {"list_jobs": "JobFilters", "list_audit_events": "AuditFilters"}  # types, by operation
REQUESTS = {"NewPolicy": "PolicyRules"}  # types, by schema
PAGING = {"limit", "after"}
REFERENCE = re.compile(r'"#/components/schemas/(\w+)"')
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
INDENT, WIDTH = " " * 4, 100

Schema = Mapping[str, Any]


def write() -> None:
    """Write the module if it differs; an archive of the source has it, and no document."""
    if (CLIENT / "PKG-INFO").exists():
        return
    text = written(json.loads(DOCUMENT.read_text("utf-8")))
    if not TYPES.exists() or TYPES.read_text("utf-8") != text:
        TYPES.write_text(text, "utf-8")


def written(document: Mapping[str, Any]) -> str:
    """Return the module of a document's types. Raises ValueError for a schema that has none."""
    definitions = [_definition(name, schema) for name, schema in _in_replies(document).items()]
    return "\n\n".join([HEAD, *definitions, *_filters(document), *_requests(document)])


def _in_replies(document: Mapping[str, Any]) -> dict[str, Schema]:
    """Return the schemas of replies by name, each after those that it refers to."""
    schemas, found = document["components"]["schemas"], dict[str, Schema]()

    def add(part: Any) -> None:
        for name in REFERENCE.findall(json.dumps(part)):
            if name not in found:
                add(schemas[name])
                found[name] = schemas[name]

    for operations in document["paths"].values():
        add([operation["responses"] for operation in operations.values()])
    return {name: schema for name, schema in found.items() if not name.startswith("Page_")}


def _definition(name: str, schema: Schema) -> str:
    name, about = _type_name(name), schema.get("description", "")
    if "enum" in schema:
        return f"{name} = {_type(schema)}\n{_docstring(about)}"
    fields, required = schema["properties"], schema.get("required", ())
    types = {key: _type(fields[key]) for key in required}  # in the order of the API's class
    types |= {key: f"NotRequired[{_type(fields[key])}]" for key in fields if key not in types}
    texts = {key: fields[key].get("description", "") for key in types}
    if any(map(keyword.iskeyword, types)):
        items = (f'{_comment(texts[key])}{INDENT}"{key}": {types[key]},\n' for key in types)
        return f'{name} = TypedDict("{name}", {{\n{"".join(items)}}})\n{_docstring(about)}'
    lines = (f"{INDENT}{key}: {types[key]}\n{_docstring(texts[key], INDENT)}" for key in types)
    return f"class {name}(TypedDict):\n{_docstring(about, INDENT)}\n{''.join(lines)}"


def _filters(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the definitions of the filters of lists, each with its description, if it has one."""
    for path, operations in document["paths"].items():
        name = FILTERS.get(operations.get("get", {}).get("operationId", ""))
        if name is not None:
            asked = [one for one in operations["get"]["parameters"] if one["in"] == "query"]
            lines = [
                _given(one["name"], one["schema"], one.get("description"))
                for one in asked
                if one["name"] not in PAGING
            ]
            about = _docstring(f"The filters of GET {path}; None, as when left out: all.", INDENT)
            yield f"class {name}(TypedDict, total=False):\n{about}\n{''.join(lines)}"


def _requests(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the definitions of the fields of requests that may be left out."""
    for schema, name in REQUESTS.items():
        fields = document["components"]["schemas"][schema]
        lines = [
            _given(key, field, field.get("description"))
            for key, field in fields["properties"].items()
            if key not in fields["required"]
        ]
        about = _docstring(fields["description"], INDENT)
        yield f"class {name}(TypedDict, total=False):\n{about}\n{''.join(lines)}"


def _given(name: str, schema: Schema, description: str | None) -> str:
    """Return a field that a caller may give."""
    kind = _type(schema, time="datetime | str").replace("list[", "Sequence[")
    if description:
        kind = f"Annotated[{kind}, {json.dumps(description)}]"
    return f"{INDENT}{name}: {kind}\n"


def _type_name(schema_name: str) -> str:
    return schema_name.removesuffix("View")


def _type(schema: Any, *, time: str = "str") -> str:
    """Return the type of a schema, as it is written in an annotation; `time` is that of a time."""
    match schema:
        case {"$ref": reference}:
            found = _type_name(reference.rpartition("/")[2])
        case {"anyOf": choices}:
            found = " | ".join(_type(choice, time=time) for choice in choices)
        case {"enum": values}:
            found = f"Literal[{', '.join(map(json.dumps, values))}]"
        case {"const": value}:
            found = f"Literal[{json.dumps(value)}]"
        case {"type": "string", "format": "date-time"}:
            found = time
        case {"type": "array", "items": items}:
            found = f"list[{_type(items)}]"
        case {"type": "object", "additionalProperties": values}:
            found = f"dict[str, {_type(values)}]"
        case {"type": plain} if plain in PLAIN:
            found = PLAIN[plain]
        case True:
            found = "Any"
        case _:
            raise ValueError(f"no type is known for {schema}")
    return found


def _comment(text: str) -> str:
    """Return a description as the comment of what is below, if there is one."""
    mark = f"{INDENT}# "
    return textwrap.indent(textwrap.fill(text, WIDTH - len(mark)), mark) + "\n" if text else ""


def _docstring(text: str, indent: str = "") -> str:
    """Return a description as the docstring of what is above, if there is one."""
    if not text:
        return ""
    width = WIDTH - len(indent)
    lines = [
        line for part in f'"""{text}'.splitlines() for line in textwrap.wrap(part, width) or [""]
    ]
    end = '"""' if len(lines) == 1 and len(lines[0]) + 3 <= width else '\n"""'
    return textwrap.indent("\n".join(lines) + f"{end}\n", indent)


if __name__ == "__main__":
    write()
