"""Processes of the sandbox: reused, limited, replaced, and what one can do that was taken over."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.errors import ImageCorrupt, ImageTooLarge
from core.images import process, sandbox
from core.images.confinement import CALLS, LIMITS, USER, is_supported
from core.images.frames import OK
from core.images.sandbox import DecodingProcess, Limits, SandboxDecoder
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

    monkeypatch.setattr(DecodingProcess, "ask_once", die)
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
from core.images.sandbox import Limits, SandboxDecoder
import sys, time
limits = Limits(seconds=9, memory_bytes=2**29, max_pixels=10**6, stored_side=64)
one = SandboxDecoder(limits, processes=1)
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
    monkeypatch.setattr(sandbox.Limits, "reply_bytes", property(lambda self: 64))
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


OFFERED = {LIMITS}

OFFERED |= {USER} if os.geteuid() == 0 else set()

OFFERED |= {CALLS} if is_supported() else set()

# The child as it is, but that each "image" is Python, whose value or error is the reply.
TAKEN_OVER = """
import ctypes, os, socket, subprocess, sys
sys.path.insert(0, sys.argv.pop(1)); sys.argv.pop(1)
from core.images import child, frames
from core.images import confinement
from core.images import confinement as system_calls

layers = {{
    "user": confinement.become_nobody,
    "limits": lambda: confinement.set_limits(2**29),
    "calls": system_calls.install_filter,
}}
libc = ctypes.CDLL(None, use_errno=True)
parent = os.getppid()

def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

def obey(data, *_):
    try:
        return frames.OK, repr(eval(data)).encode()
    except BaseException as fault:
        return frames.OK, type(fault).__name__.encode()

child.decode = obey
chosen = {chosen!r}
if chosen is not None:
    child.confine = lambda memory: [name for name in chosen if layers[name]()]
child.main()
"""

LINUX = sys.platform == "linux"

READ_ENVIRONMENT = "open(f'/proc/{parent}/environ', 'rb').read()"

OPEN_SOCKET = "socket.socket()"

FORK = "os.waitpid(os.fork() or os._exit(0), 0)"

SIGNAL = "os.kill(parent, 0)"

READ = "open('DATABASE', 'rb').read()"

MOVE = "os.rename('DATABASE', 'FOLDER/moved')"

DEEDS = [
    OPEN_SOCKET,
    "socket.socket(socket.AF_UNIX)",
    "socket.socketpair()",
    "os.pipe()",
    FORK,
    "subprocess.run(['/bin/true'])",
    SIGNAL,
    "os.listdir('/')",
    READ,
    "open('DATABASE', 'r+b')",
    "open('FOLDER/new', 'wb')",
    "os.mkdir('FOLDER/newer')",
    "os.chmod('DATABASE', 0o666)",
    MOVE,
    "os.unlink('FOLDER/other')",
]

SPYING = [READ_ENVIRONMENT, "open(f'/proc/{parent}/mem', 'rb')"] if LINUX else []

DEEDS += SPYING

DEEDS += (
    ["os.memfd_create('new')", "call('process_vm_readv', parent, 0, 0, 0, 0, 0)"] if LINUX else []
)

DENIED = {"PermissionError", "OSError", "BlockingIOError"}

Ask = Callable[[str], str]


@pytest.fixture
def taken_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Ask]]:
    """Start a decoder that does as it is told, confined as ever or by the layers chosen."""
    (tmp_path / "perennial.db").write_bytes(b"rows")
    (tmp_path / "other").touch()
    limits = Limits(seconds=20, memory_bytes=2**29, max_pixels=10**6, stored_side=64)
    made = DecodingProcess(limits)

    def start(*, chosen: list[str] | None = None) -> Ask:
        monkeypatch.setattr(process, "_PROGRAM", TAKEN_OVER.format(chosen=chosen))

        def ask(deed: str) -> str:
            deed = deed.replace("DATABASE", str(tmp_path / "perennial.db"))
            outcome, body = made.ask(deed.replace("FOLDER", str(tmp_path)).encode())
            assert outcome == OK
            return body.decode()

        return ask

    yield start
    made.stop()


def test_every_layer_that_this_system_offers_holds() -> None:
    one = make_decoder()
    assert one.layers == OFFERED
    one.close()


def test_a_decoder_without_layers_could_do_all_of_it(taken_over: Callable[..., Ask]) -> None:
    ask = taken_over(chosen=[])
    assert {deed: ask(deed) for deed in DEEDS if ask(deed) in DENIED} == {}


def test_a_decoder_that_was_taken_over_can_do_nothing(
    taken_over: Callable[..., Ask], tmp_path: Path
) -> None:
    ask = taken_over()

    allowed = {deed: ask(deed) for deed in DEEDS if ask(deed) not in DENIED}

    # Where system calls cannot be limited, what the same user may do to files by name is left.
    assert allowed == {} or CALLS not in OFFERED
    assert {READ, OPEN_SOCKET} & set(allowed) == set()
    assert (tmp_path / "perennial.db").read_bytes() == b"rows"
    assert ask("6 * 7") == "42"  # it lives, and answers


@pytest.mark.parametrize(
    ("layer", "deeds"),
    [
        (USER, [READ, MOVE, SIGNAL, *SPYING]),
        (LIMITS, [READ, OPEN_SOCKET, "os.pipe()", "open('FOLDER/new', 'wb')", "os.listdir('/')"]),
        (CALLS, DEEDS),
    ],
)
def test_each_layer_denies_by_itself_what_the_operations_page_says(
    taken_over: Callable[..., Ask], layer: str, deeds: list[str]
) -> None:
    ask = taken_over(chosen=[layer])
    allowed = {deed for deed in deeds if ask(deed) not in DENIED}
    assert allowed == set() if layer in OFFERED else allowed
    assert ask("6 * 7") == "42"
