"""The table of `make bench-fitting`."""

from __future__ import annotations

from benchmarks.fitting import table


def test_passes_wrong_passes_gain_and_shares_stand_beside_each_other() -> None:
    def row(
        room: float | None, verdict: str, share: float, *, wrong: bool = False
    ) -> dict[str, object]:
        facts = {"setting": "sky", "policy": "demo", "seed": 0, "update": 1, "room": room}
        return {**facts, "verdict": verdict, "share": share, "wrong": wrong, "gain": 100 * share}

    rows = [
        row(None, "failed", 1.0),
        row(None, "passed", 1.0, wrong=True),
        row(1.0, "passed", 0.5),
        row(1.0, "passed", 1.0),
    ]
    (found,) = table(rows)
    assert found == {
        "setting": "sky",
        "policy": "demo",
        "updates": "2 / 2",
        "passed": "1 / 2",
        "wrong": "1 / 0",
        "gain": "100.0 / 75.0",
        "share": "1.00 / 0.75",
    }
