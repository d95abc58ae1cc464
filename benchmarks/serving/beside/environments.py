"""Virtual environments for other software, with the packages that it needs, made once."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"
TORCH = ("torch", "torchvision", "pillow")
LITSERVE = ("litserve==0.2.19", "open_clip_torch", *TORCH, "--constraint", str(CONSTRAINTS))
# Its extra `vision` would bring another build of torch. Releases of transformers from 5 on answer
# otherwise than it reads, and it imports aiohttp without naming it.
INFINITY = ("infinity-emb[server]==0.0.78", "transformers>=4.47,<5", "aiohttp", *TORCH)


def environment(folder: Path, wanted: Sequence[str]) -> Path:
    """Return the folder of an environment's programs, after making it if it is not there.

    `wanted` are arguments of `pip install`. Raises CalledProcessError if it fails.
    """
    programs, made = folder / "bin", folder / "installed"
    if not made.exists() or made.read_text() != "\n".join(wanted):
        print(f"Making {folder}, which takes a few minutes.", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(programs / "python"), "-I", "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", *wanted], check=True)
        made.write_text("\n".join(wanted))
    return programs
