"""OpenSSF model signing, by which stock tools verify a folder or a file.

The signature is made on this machine. The private key is read from its file, and goes nowhere.
"""

from pathlib import Path

import click

from perennial.terminal.arguments import FILE
from perennial.terminal.session import Failure

SIGNATURE = "model.sig"  # of a folder, in it
OF_FILE = ".sig"  # of a file, behind its name

sign_option = click.option(
    "--sign",
    "key",
    type=FILE,
    metavar="KEY.pem",
    help="Private key of an elliptic curve, to sign the files by OpenSSF model signing.",
)


class Signer:
    """Signs by a private key on an elliptic curve."""

    def __init__(self, key: Path) -> None:
        """Read the key. Raises Failure without the package, or if the standard forbids the key."""
        try:
            from model_signing import hashing, signing
        except ImportError as error:
            message = "--sign needs another package: pip install 'perennial-client[publish]'"
            raise Failure(message) from error
        try:
            config = signing.Config().use_elliptic_key_signer(private_key=key)
        except (ValueError, TypeError, AttributeError) as error:  # TypeError: it is encrypted
            message = (
                f"{key} is no private key that signs models: give one on the curve P-256, P-384 or "
                "P-521 as PEM, not encrypted. To make one: openssl ecparam -name prime256v1 "
                "-genkey -noout -out KEY.pem"
            )
            raise Failure(message) from error
        ignored = hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=True)
        self._config = config.set_hashing_config(ignored)

    def sign(self, made: Path) -> Path:
        """Sign a file, or all files of a folder, and return the signature's path.

        It is written beside the file, or into the folder.
        """
        to = made / SIGNATURE if made.is_dir() else signature_beside(made)
        self._config.sign(made, to)
        return to


def signature_beside(file: Path) -> Path:
    """Return the path of a file's signature."""
    return file.with_name(file.name + OF_FILE)
