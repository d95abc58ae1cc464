"""The document describes a report as it is stored."""

import json

from pydantic import TypeAdapter

from core.evaluation.queries import EvalQuery
from core.evaluation.report import Report
from core.registry.versions import Version
from tests.support.evaluation.evaluations import policy, report_of, second_update


def right(_who: Version, _query: EvalQuery, index: int) -> bool:
    return index % 3 > 0


def test_the_documented_report_is_the_stored_one() -> None:
    chosen = policy(line_error=0.05, negative_flips=0.03)
    stored = json.loads(report_of(second_update(policy=chosen), right).to_bytes())
    assert stored["budgets"]
    report = TypeAdapter(Report)
    assert report.dump_python(report.validate_python(stored), mode="json") == stored
    schema = report.json_schema(mode="serialization")
    assert stored.keys() == schema["properties"].keys()
    assert stored["measures"][0].keys() == schema["$defs"]["Ruling"]["properties"].keys()
