"""A program of the service, parts of which are altered while it runs, to see what they cost.

    python -m benchmarks.serving.altered cli serve

Standard input is a socket, over which lines come that name what is altered from then on, and each
is answered by an empty one. The product has no switches for this.
"""

import runpy
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Thread
from typing import Any
from unittest.mock import patch


@contextmanager
def httpx_client() -> Iterator[None]:
    """Call the inference process through httpx rather than httpcore alone."""
    import httpx

    from api.inference_client.client import TIMEOUT_S, Replicas
    from api.inference_client.questions import Reply

    def send(self: Replicas, replica: Any, path: str, content: bytes, headers: Any) -> Reply:
        own = [*self._headers, *httpx.Headers(headers).raw]
        found = client.post(replica.url.join(path), content=content, headers=own)
        return Reply(found.status_code, found.headers.get("content-type", ""), found.content)

    with (
        httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client,
        patch.object(Replicas, "_send", send),
    ):
        yield


@contextmanager
def unconfined() -> Iterator[None]:
    """Decode in processes that keep all their rights."""
    from core.bootstrap import decoder
    from core.images import process
    from core.images.confinement import CALLS, LIMITS, USER
    from core.images.sandbox import SandboxDecoder
    from core.settings import Settings

    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv.pop(1); "
        "from core.images import child; child.confine = lambda memory: []; child.main()"
    )
    confined, free = SandboxDecoder.pixels, decoder(Settings())
    with (
        patch.object(process, "_PROGRAM", program),
        patch.object(SandboxDecoder, "pixels", lambda _, *image: confined(free, *image)),
    ):
        assert not free.layers & {USER, LIMITS, CALLS}  # which starts a process
        yield
    free.close()


@contextmanager
def in_process() -> Iterator[None]:
    """Decode in the API process."""
    from core.images import child
    from core.images.inputs import pack_input
    from core.images.sandbox import SandboxDecoder
    from core.settings import Settings

    settings = Settings()

    def pixels(_: SandboxDecoder, data: bytes, wanted: Any) -> bytes:
        packed = pack_input(wanted) + data
        return child.pixels(packed, settings.max_pixels, settings.stored_side)[1]

    with patch.object(SandboxDecoder, "pixels", pixels):
        yield


@contextmanager
def unchecked() -> Iterator[None]:
    """Let everybody in as an admin, without limits on rates and bodies."""
    from api.http.authentication import KeyCheck
    from api.http.limits import BodyArrival, BodySizeLimit, RateLimit
    from core.principal import SERVICE

    async def let_in(self: Any, scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["principal"] = SERVICE
        await self.app(scope, receive, send)

    with ExitStack() as stack:
        stack.enter_context(patch.object(KeyCheck, "__call__", let_in))
        for middleware in (RateLimit, BodyArrival, BodySizeLimit):
            stack.enter_context(patch.object(middleware, "__call__", _pass_on))
        yield


@contextmanager
def remembered() -> Iterator[None]:
    """Look an alias up once."""
    from api.http.lookups import VersionLookup

    find, found = VersionLookup.find, {}

    async def find_once(self: VersionLookup, reference: str, principal: Any) -> Any:
        if reference not in found:
            found[reference] = await find(self, reference, principal)
        return found[reference]

    with patch.object(VersionLookup, "find", find_once):
        yield


@contextmanager
def asking() -> Iterator[None]:
    """Ask the database for the key and the version of each request."""
    from core.database.engine import Commits

    with patch.object(Commits, "state", lambda _: None):
        yield


@contextmanager
def unshared() -> Iterator[None]:
    """Have each request call the inference process by itself."""
    from api.inference_client.questions import MAX_CALLS, ClassifyImages, SharedCalls

    at_once = property(lambda _: MAX_CALLS, lambda *_: None)
    with (
        patch.object(ClassifyImages, "most", 1),
        patch.object(SharedCalls, "at_once", at_once, create=True),
    ):
        yield


@contextmanager
def silent() -> Iterator[None]:
    """Neither log nor count requests."""
    from api.observability import Telemetry

    with patch.object(Telemetry, "__call__", _pass_on):
        yield


@contextmanager
def reading() -> Iterator[None]:
    """Read a version's bytes again at each move of an alias."""
    from core.artifacts import checks as verified_files

    with patch.object(verified_files, "VERIFIED_FOR_S", 0.0):
        yield


async def _pass_on(self: Any, scope: Any, receive: Any, send: Any) -> None:
    await self.app(scope, receive, send)


ALTERATIONS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    one.__name__: one
    for one in (
        httpx_client,
        unconfined,
        in_process,
        unchecked,
        remembered,
        asking,
        unshared,
        silent,
        reading,
    )
}


def listen(control: socket.socket) -> None:
    """Alter this process as each line says; hang up if that fails."""
    with control, control.makefile() as lines, ExitStack() as altered:
        for line in lines:
            altered.close()
            for name in line.split():
                altered.enter_context(ALTERATIONS[name]())
            control.sendall(b"\n")


def main() -> None:
    """Listen, and run a module in this process."""
    control = socket.socket(fileno=0)
    Thread(target=listen, args=[control], name="alterations", daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
