"""Decoding processes that outlast services: to start them takes longer than most tests."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import pytest

from core import bootstrap
from core.images.sandbox import SandboxDecoder


class Lasting(SandboxDecoder):
    """A decoder that a service leaves to the next one with equal limits."""

    def close(self) -> None: ...


@contextmanager
def lasting_decoders() -> Iterator[None]:
    """Within the context, services with equal limits have the same decoder."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:

        @cache
        def lasting(**limits: Any) -> Lasting:
            made = Lasting(**limits)
            stack.callback(SandboxDecoder.close, made)
            return made

        patch.setattr(bootstrap, "SandboxDecoder", lasting)
        yield
