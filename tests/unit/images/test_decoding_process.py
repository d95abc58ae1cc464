"""The processes of the sandbox: reused, limited, replaced."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.errors import ImageCorrupt, ImageTooLarge
from core.images import sandbox as processes
from core.images.sandbox import DecodingProcess, SandboxDecoder
from tests.support.pictures import encode, make_decoder, picture, png_of_zeros
from tests.support.processes import is_alive, wait_for

PNG = encode(picture(), "PNG")


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


@contextmanager
def started(data: bytes = PNG, **changes: Any) -> Iterator[tuple[SandboxDecoder, int]]:
    """A decoder that has decoded an image, and its process."""
    before, one = children(), make_decoder(**changes)
    one.decode(data)
    [child] = children() - before
    yield one, child
    one.close()


def test_killed_process_is_replaced_without_the_caller_noticing() -> None:
    with started() as (one, child):
        os.kill(child, signal.SIGKILL)
        assert one.decode(PNG).width == 40


def test_process_that_hangs_is_killed_and_the_next_image_served() -> None:
    with started(seconds=0.5) as (one, child):
        os.kill(child, signal.SIGSTOP)
        with pytest.raises(ImageCorrupt):
            one.decode(PNG)
        assert not psutil.pid_exists(child)
        assert one.decode(PNG).width == 40


def test_image_that_kills_its_process_is_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def die(self: DecodingProcess, data: bytes, reply_bytes: int) -> tuple[bytes, bytes]:
        started.append(self)
        raise EOFError

    monkeypatch.setattr(DecodingProcess, "_ask", die)
    with pytest.raises(ImageCorrupt):
        make_decoder().decode(PNG)
    assert len(started) == 2  # tried once more: the first process may have died of something else


def test_process_knows_no_secret_and_cannot_write_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", "secret")
    with started() as (_, child):
        assert "PERENNIAL_ADMIN_KEY" not in psutil.Process(child).environ()
        limits = Path(f"/proc/{child}/limits").read_text()
    for name, value in (("file size", 0), ("open files", 0), ("address space", 512 * 1024 * 1024)):
        assert re.search(rf"Max {name} +{value} +{value} ", limits)


def test_process_ends_with_its_parent() -> None:
    code = """
from core.images.sandbox import SandboxDecoder
import sys, time
one = SandboxDecoder(processes=1, seconds=9, memory_bytes=2**29, max_pixels=10**6, stored_side=64)
try:
    one.decode(bytes.fromhex("89504e470d0a1a0a"))
except Exception:
    print(one._processes[0]._process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    wait_for(lambda: not is_alive(child), seconds=5)


def test_reply_that_no_image_could_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.Limits, "reply_bytes", property(lambda self: 64))
    one = make_decoder()
    with pytest.raises(ImageCorrupt):
        one.decode(PNG)
    one.close()


def test_threads_share_the_processes() -> None:
    two = make_decoder(processes=2)
    pictures = [encode(picture(40 + n % 7, 30), "PNG") for n in range(60)]
    with ThreadPoolExecutor(6) as pool:
        widths = [decoded.width for decoded in pool.map(two.decode, pictures)]
    assert widths == [40 + n % 7 for n in range(60)]
    two.close()


def test_image_that_needs_too_much_memory_is_refused_and_the_next_one_served() -> None:
    small = make_decoder(max_pixels=10**9, memory_bytes=300 * 1024 * 1024)
    with pytest.raises(ImageTooLarge):
        small.decode(png_of_zeros(12_000, 12_000))
    assert small.decode(PNG).width == 40
    small.close()
