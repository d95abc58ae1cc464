"""The processes of the sandbox: reused, limited, replaced."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import psutil
import pytest
from PIL import Image

from core.errors import ImageCorrupt, ImageTooLarge
from core.images import sandbox as processes
from core.images.sandbox import DecodingProcess
from tests.support.pictures import encode, make_decoder, picture, png_of_zeros


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def test_one_process_decodes_many_images() -> None:
    one = make_decoder()
    before = children()
    data = encode(picture(), "PNG")
    one.decode(data)
    [child] = children() - before
    for _ in range(20):
        one.decode(data)
    assert children() - before == {child}
    one.close()
    assert children() == before


def test_killed_process_is_replaced_without_the_caller_noticing() -> None:
    one = make_decoder()
    before = children()
    data = encode(picture(), "PNG")
    first = one.decode(data)
    [child] = children() - before
    os.kill(child, signal.SIGKILL)
    assert one.decode(data) == first
    one.close()


def test_process_that_hangs_is_killed_and_the_next_image_served() -> None:
    one = make_decoder(seconds=0.5)
    before = children()
    data = encode(picture(), "PNG")
    one.decode(data)
    [child] = children() - before
    os.kill(child, signal.SIGSTOP)
    with pytest.raises(ImageCorrupt):
        one.decode(data)
    assert not psutil.pid_exists(child)
    assert one.decode(data).width == 40
    one.close()


def test_image_that_kills_its_process_is_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def die(self: DecodingProcess, data: bytes, reply_bytes: int) -> tuple[bytes, bytes]:
        started.append(self)
        raise EOFError

    monkeypatch.setattr(DecodingProcess, "_ask", die)
    with pytest.raises(ImageCorrupt):
        make_decoder().decode(encode(picture(), "PNG"))
    assert len(started) == 2  # tried once more: the first process may have died of something else


def test_memory_is_kept_for_the_next_image() -> None:
    one, before = make_decoder(stored_side=512), children()
    noise = Image.frombytes("RGB", (512, 512), Random(0).randbytes(512 * 512 * 3))
    data = encode(noise, "PNG")
    for _ in range(3):
        one.decode(data)
    [child] = children() - before
    faults = page_faults(child)
    for _ in range(5):
        one.decode(data)
    assert page_faults(child) - faults < 5 * 192  # the pages of its pixels alone, each time
    one.close()


def page_faults(child: int) -> int:
    """How often the kernel gave the process a page of memory."""
    return int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[7])


def test_process_knows_no_secret_and_cannot_write_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", "secret")
    one = make_decoder()
    before = children()
    one.decode(encode(picture(), "PNG"))
    [child] = children() - before
    seen = psutil.Process(child)
    assert "PERENNIAL_ADMIN_KEY" not in seen.environ()
    limits = Path(f"/proc/{child}/limits").read_text()
    for name, value in (("file size", 0), ("open files", 0), ("address space", 512 * 1024 * 1024)):
        assert re.search(rf"Max {name} +{value} +{value} ", limits)
    one.close()


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
    deadline = time.monotonic() + 5
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(child)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_reply_that_no_image_could_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.Limits, "reply_bytes", property(lambda self: 64))
    one = make_decoder()
    with pytest.raises(ImageCorrupt):
        one.decode(encode(picture(), "PNG"))
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
    assert small.decode(encode(picture(), "PNG")).width == 40
    small.close()
