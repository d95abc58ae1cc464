"""OpenSSF model signing: a signature over all files of a folder, in the folder."""

from pathlib import Path

from model_signing import hashing, signing

from perennial.terminal.session import Failure

SIGNATURE = "model.sig"


class Signer:
    """Signs folders by a private key on an elliptic curve."""

    def __init__(self, key: Path) -> None:
        """Read the key. Raises Failure if the standard does not allow it."""
        try:
            self._config = signing.Config().use_elliptic_key_signer(private_key=key)
        except (ValueError, TypeError, AttributeError) as error:  # TypeError: it is encrypted
            message = (
                f"{key} is no private key that signs models: give one on the curve P-256, P-384 or "
                "P-521 as PEM, not encrypted. To make one: openssl ecparam -name prime256v1 "
                "-genkey -noout -out KEY.pem"
            )
            raise Failure(message) from error

    def sign(self, folder: Path) -> Path:
        """Write the signature of a folder's files into it, and return its path."""
        hashed = hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=True)
        self._config.set_hashing_config(hashed).sign(folder, folder / SIGNATURE)
        return folder / SIGNATURE
