"""`perennial erase` and `perennial certificate`: the same as under /v1/erasures."""

import argparse
import re
import sys
from typing import Any

from api.schemas.erasures.certificates import CertificateView
from api.schemas.erasures.erasures import ErasureView
from core import bootstrap
from core.domain.access.principal import COMMAND_LINE
from core.domain.erasure.erasure import Retraining
from core.domain.jobs.order import Queue
from core.domain.values import Digest, ErasureId, JobId
from core.settings import Settings
from core.use_cases.erasure.certify import certify
from core.use_cases.erasure.order_erasure import order_erasure
from core.use_cases.erasure.progress import follow
from core.use_cases.jobs.queue import JobRequest

_DIGEST = re.compile(r"[0-9a-f]{64}")


class _Polled:
    """Workers look for waiting jobs every few seconds, without being notified."""

    def notify(self, job: JobId, queue: Queue) -> None:
        """Do nothing."""


def add_commands(commands: Any) -> None:
    """Add both commands."""
    erase = commands.add_parser(
        "erase",
        help="erase images from datasets and the store, and mark what learned from them",
        description="Order that images be erased. A worker of the service does it, and trains the "
        "versions that learned from them again, without them.",
    )
    erase.add_argument("images", nargs="+", type=_digest, help="digests of the images' pixels")
    erase.add_argument("--reason", required=True, help="why; the certificate says it")
    erase.add_argument(
        "--retrain",
        type=Retraining,
        choices=list(Retraining),
        default=Retraining.ALL,
        help="marked versions to train again; aliased: those of live lines (default: all)",
    )
    erase.set_defaults(run=_erase)

    certificate = commands.add_parser(
        "certificate",
        help="print the certificate of an erasure",
        description="Print what an erasure has taken back, what replaces what, and what it cannot "
        "reach, as JSON.",
    )
    certificate.add_argument("erasure", help="id of the erasure")
    certificate.set_defaults(run=_certificate)


def _digest(text: str) -> Digest:
    if not _DIGEST.fullmatch(text):
        raise argparse.ArgumentTypeError("not 64 hexadecimal digits")
    return Digest(text)


def _erase(chosen: argparse.Namespace) -> int:
    platform = bootstrap.build(Settings()).on_behalf_of(COMMAND_LINE)
    try:
        erasure = order_erasure(
            platform,
            _Polled(),
            JobRequest(principal=COMMAND_LINE),
            images=chosen.images,
            reason=chosen.reason,
            retraining=chosen.retrain,
        )
        with platform.transactions(read_only=True) as work:
            view = ErasureView.of(follow(work, erasure))
    finally:
        bootstrap.close(platform)
    sys.stdout.write(view.model_dump_json(indent=2) + "\n")
    return 0


def _certificate(chosen: argparse.Namespace) -> int:
    platform = bootstrap.build(Settings())
    try:
        view = CertificateView(**certify(platform, ErasureId(chosen.erasure)))
    finally:
        bootstrap.close(platform)
    sys.stdout.write(view.model_dump_json(indent=2) + "\n")
    return 0
