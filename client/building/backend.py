"""The build backend that pip calls: setuptools, after what is not kept has been written."""

from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the other hooks of PEP 517)

from building import gate_rules, reply_types, sync_client


def write() -> None:
    """Write the synchronous client, the types of replies and the gate's rules."""
    sync_client.write()
    reply_types.write()
    gate_rules.write()


def build_wheel(*args: Any, **named: Any) -> Any:
    """Build a wheel."""
    write()
    return build_meta.build_wheel(*args, **named)


def build_editable(*args: Any, **named: Any) -> Any:
    """Build what an editable installation takes."""
    write()
    return build_meta.build_editable(*args, **named)


def build_sdist(*args: Any, **named: Any) -> Any:
    """Build an archive of the source, which holds both clients and this."""
    write()
    return build_meta.build_sdist(*args, **named)
