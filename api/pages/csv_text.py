"""Tables as CSV (RFC 4180) that no spreadsheet runs as formulas."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CSV = "text/csv"
CSV_CONTENT: Mapping[str, Any] = {CSV: {"schema": {"type": "string"}}}
# What begins a formula, also in its full-width form, and what spreadsheets drop before one.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return a table as CSV, with a header line; columns that a row lacks are empty.

    A text that a spreadsheet could run as a formula gets an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value
