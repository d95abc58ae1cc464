"""Updates under a real limit on memory, which torch's allocator meets in mid-step."""

from __future__ import annotations

import json
import os
import subprocess
import sys

# Else glibc keeps freed memory in the address space, where the limit counts it.
FREED_IS_GONE = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}


def test_a_real_want_of_memory_halves_once_then_fails_and_the_next_update_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.learning.limited_memory"],
        env=os.environ | FREED_IS_GONE,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ordered, halved, failed, after = json.loads(done.stdout)
    assert halved["told"] == [["out_of_memory", {"step": 1, "micro_batch": 64}]]
    assert halved["digest"] == ordered["digest"]
    assert failed["code"] == "out_of_memory"
    assert "can't allocate memory" in failed["facts"]["allocator"]
    assert after == ordered
