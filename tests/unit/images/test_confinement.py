"""The decoder's process once an image has taken it over: what the kernel still lets it do."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.images import sandbox as processes
from core.images.child import OK
from core.images.confinement import CALLS, LIMITS, USER, is_supported
from core.images.sandbox import DecodingProcess, Limits
from tests.support.pictures import make_decoder

OFFERED = {LIMITS}

OFFERED |= {USER} if os.geteuid() == 0 else set()

OFFERED |= {CALLS} if is_supported() else set()

# The child as it is, but that each "image" is Python, whose value or error is the reply.
TAKEN_OVER = """
import ctypes, os, socket, subprocess, sys
sys.path.insert(0, sys.argv.pop(1))
from core.images import child
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
        return child.OK, repr(eval(data)).encode()
    except BaseException as fault:
        return child.OK, type(fault).__name__.encode()

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
        monkeypatch.setattr(processes, "_PROGRAM", TAKEN_OVER.format(chosen=chosen))

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
