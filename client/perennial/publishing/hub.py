"""Folders on a hub, by the protocol of huggingface_hub, at any endpoint that has it."""

import os
import re
import sys
from pathlib import Path

import click

from perennial.publishing.facts import Facts
from perennial.terminal.session import Failure

HUB = "hf://"
TOKEN, ENDPOINT = "HF_TOKEN", "HF_ENDPOINT"
NAME = r"[\w.-]+/[\w.-]+"
ADDRESS = re.compile(rf"{HUB}({NAME})", re.ASCII)
BASE = re.compile(rf"{NAME}|[\w.-]+", re.ASCII)  # some old models are of no organisation


class Hub:
    """A repository of models on a hub."""

    def __init__(self, address: str) -> None:
        """Name it as hf://ORG/NAME.

        Raises BadParameter, and Failure without the package or a token in the environment.
        """
        found = ADDRESS.fullmatch(address)
        if found is None:
            raise click.BadParameter("give hf://ORG/NAME, as in hf://lab/clip-of-shoes")
        self._repository = found[1]
        try:
            from huggingface_hub import HfApi
        except ImportError as error:
            message = "hf:// needs another package: pip install 'perennial-client[publish]'"
            raise Failure(message) from error
        self._token = os.environ.get(TOKEN, "")
        if not self._token:
            raise Failure(f"Set {TOKEN} to a token of the hub that may write to {found[1]}.")
        self._api = HfApi(endpoint=os.environ.get(ENDPOINT) or None, token=self._token)

    def send(self, folder: Path, facts: Facts, *, public: bool) -> str:
        """Send a folder as one commit and return its address.

        A repository that there is not is made. Files in it that the folder lacks stay. Raises
        Failure for what the hub refuses.
        """
        import httpx2
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not sys.stderr.isatty():
            disable_progress_bars()
        try:
            self._api.create_repo(self._repository, private=not public, exist_ok=True)
            made = self._api.upload_folder(
                repo_id=self._repository, folder_path=folder, commit_message=f"Publish {facts.name}"
            )
        except (httpx2.HTTPError, OSError, ValueError, RuntimeError) as error:
            said = f"{error}".replace(self._token, f"${TOKEN}")
            message = f"{self._api.endpoint} did not take {self._repository}: {said}"
            raise Failure(message) from error
        return str(made.commit_url)
