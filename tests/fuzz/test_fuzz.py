"""A small size of `make test-fuzz`: the key that may do everything, few examples."""

from pathlib import Path

from core.principal import Role
from tests.nightly.fuzz.fuzzing import fuzz


def test_random_requests_get_documented_answers(tmp_path: Path) -> None:
    outcomes = fuzz(Role.ADMIN, tmp_path, examples=1, seed=1, phases=("examples", "fuzzing"))
    assert not any(one.failures for one in outcomes), "\n".join(one.log for one in outcomes)
    assert sum(one.cases for one in outcomes) > sum(one.operations for one in outcomes) > 70
