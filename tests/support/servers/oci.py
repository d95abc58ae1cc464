"""Debian's docker-registry, with a password, or with tokens that a stand-in gives out."""

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from devtools.ports import free_port
from devtools.programs import REGISTRY, find
from devtools.servers import PASSWORD
from tests.support.processes import wait_for
from tests.support.servers.answering import QuietHandler, answering

USER = "tester"
BCRYPT = "$2b$04$abcdefghijklmnopqrstuuCRVzRYhCrEF/ITHQT6RgHZNZMESzNNm"  # of PASSWORD
BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
SERVICE, ISSUER = "registry", "a stand-in"


@contextmanager
def a_registry(folder: Path) -> Iterator[str]:
    """Run a registry in an empty folder that asks for USER and PASSWORD; its host and port."""
    (folder / "users").write_text(f"{USER}:{BCRYPT}\n")
    auth = {"htpasswd": {"realm": "tests", "path": str(folder / "users")}}
    with _registry(folder, auth) as host:
        yield host


@contextmanager
def a_registry_with_tokens(folder: Path) -> Iterator[tuple[str, list[dict[str, list[str]]]]]:
    """Run one that takes tokens; its host and port, and what the stand-in was asked for.

    The stand-in allows all to USER with PASSWORD, and nothing to others.
    """
    key, asked = ec.generate_private_key(ec.SECP256R1()), []
    certificate = _certificate(key)
    chain = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]

    class Issuer(QuietHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            asked.append(query)
            kind, name, actions = query["scope"][0].split(":")
            allowed = self.headers.get("Authorization") == BASIC
            access = {"type": kind, "name": name, "actions": actions.split(",") if allowed else []}
            now = datetime.now(UTC)
            claims = {
                "iss": ISSUER,
                "aud": SERVICE,
                "nbf": now - timedelta(minutes=5),
                "exp": now + timedelta(minutes=5),
                "access": [access],
            }
            token = jwt.encode(claims, key, algorithm="ES256", headers={"x5c": chain})
            data = json.dumps({"token": token}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    (folder / "issuer.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    with answering(Issuer) as url:
        auth = {
            "token": {
                "realm": f"{url}/token",
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(folder / "issuer.pem"),
            }
        }
        with _registry(folder, auth) as host:
            yield host, asked


@contextmanager
def _registry(folder: Path, auth: Mapping[str, Any]) -> Iterator[str]:
    host = f"127.0.0.1:{free_port()}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": host},
        "auth": auth,
    }
    (folder / "settings.yml").write_text(json.dumps(settings))  # JSON is YAML
    log = folder / "log"
    with log.open("wb") as out:
        command = [str(find(REGISTRY)), "serve", str(folder / "settings.yml")]
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        wait_for(lambda: _answers(host, process, log), seconds=60)
        yield host
    finally:
        process.kill()
        process.wait()


def _answers(host: str, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return httpx.get(f"http://{host}/v2/", trust_env=False).status_code == 401
    except httpx.TransportError:
        return False


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name, now = x509.Name([]), datetime.now(UTC)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
