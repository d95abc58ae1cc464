"""Signatures of what is published or exported, checked by the program of model_signing."""

import subprocess
import sys
from pathlib import Path


def make_key_pair(folder: Path) -> tuple[Path, Path]:
    """The files of a private and a public key, as openssl makes them."""
    private, public = folder / "key.pem", folder / "key.pub"
    for words in (
        f"ecparam -name prime256v1 -genkey -noout -out {private}",
        f"ec -in {private} -pubout -out {public}",
    ):
        subprocess.run(["openssl", *words.split()], check=True, capture_output=True)
    return private, public


def accepts(made: Path, public: Path) -> bool:
    """True if the program of model_signing accepts the signature of a folder or a file."""
    signature = made / "model.sig" if made.is_dir() else made.with_name(f"{made.name}.sig")
    words = ["verify", "key", made, "--signature", signature, "--public_key", public]
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("Verification succeeded" in done.stdout) == (done.returncode == 0), done
    return done.returncode == 0


def change_a_byte(file: Path) -> None:
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 1
    file.write_bytes(changed)
