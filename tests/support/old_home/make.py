"""Write the home that a past release leaves when its machine fails: home.tar.xz, expected.json.

README.md says how to run this. The past release's tree comes first on the path, so the service
that this starts is the past one; torch and the tests' minuscule CLIP are the present ones.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import chdir
from pathlib import Path
from random import Random
from typing import Any

import httpx
from PIL import Image
from safetensors.torch import save_file

import core
from tests.support.learning.tiny_clip import tiny_clip, tiny_config
from tests.support.old_home.past_service import (
    digest_of,
    finish,
    has_checkpoint,
    kill,
    send,
    service,
    wait_for,
)

HERE = Path(__file__).parent
POLICY = {
    "name": "lenient",
    "parent_tolerance": 1.0,
    "root_tolerance": 1.0,
    "holdout_tolerance": 1.0,
    "minimum_count": 1,
    "alpha": 0.2,
    "reason": "what is tested is that an old home opens",
}
# Adam's epsilon is large: it would make steps of the rounding where a gradient is zero.
RECIPE = {
    "method": "vrlwf",
    "precision": "fp32",
    "epochs": 10,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "epsilon": 0.1,
    "replay_weight": 1.0,
    "averaging": "ema",
    "sentences": 4,
    "sentence_length": 4,
}
COLOURS = {"red": (180, 40, 40), "green": (40, 180, 40), "blue": (40, 40, 180)}
SHADES = {"white": (180, 180, 180), "black": (40, 40, 40)}
INTERRUPTED_AFTER = 20  # steps


def main() -> None:
    """Make the home in an empty folder, so that all paths it keeps are relative."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        expected = make_home()
    (HERE / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


def make_home() -> dict[str, Any]:
    """Pack a home whose last update was interrupted; return what its updates must come to."""
    write_base(Path("base"))
    with service("home") as client:
        finish(client, fill(client))
        second = finish(client, order(client, seed=1))
        third = finish(client, order(client, seed=2))
        digests = [digest_of(client, number) for number in (1, second, third)]
    shutil.copytree("home", "elsewhere")
    with service("elsewhere") as client:
        undisturbed = digest_of(client, finish(client, order(client, seed=3)))
    with service("home", end=kill) as client:
        job = order(client, seed=3)
        wait_for(lambda: has_checkpoint(client, job, after=INTERRUPTED_AFTER))
    with tarfile.open(HERE / "home.tar.xz", "w:xz", preset=9) as archive:
        archive.add("home")
    with service("home") as client:
        resumed = digest_of(client, finish(client, job))
    assert resumed == undisturbed, "the past release itself resumes to another digest"
    past = str(Path(str(core.__file__)).parents[1])
    return {
        "commit": run("git", "-C", past, "rev-parse", "HEAD").strip(),
        "versions": digests,
        "interrupted": {"job": job, "digest": undisturbed},
        "environment": present_environment(),
    }


def write_base(folder: Path) -> None:
    """Write a minuscule CLIP whose token embedding repeats every 64 rows, so that it packs well."""
    config = tiny_config(layers=1)
    config["model_cfg"]["embed_dim"] = config["model_cfg"]["vision_cfg"]["width"] = 8
    clip = tiny_clip(seed=3, config=config)
    state = clip.network.state_dict()
    tokens = state["token_embedding.weight"]
    state["token_embedding.weight"] = tokens[:64].repeat(len(tokens) // 64, 1)
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(state, folder / "open_clip_model.safetensors")


def fill(client: httpx.Client) -> str:
    """Make a dataset, a suite, a policy and a model; the job that imports the model's base."""
    upload(client, "colours", COLOURS, 14)
    upload(client, "shades", SHADES, 6)
    suite = {"name": "shades", "kind": "zero_shot", "dataset": "shades", "dataset_version": 1}
    send(client, "/v1/suites", json=suite)
    send(client, "/v1/gate-policies", json=POLICY)
    model = {"name": "line", "base": "base", "suites": ["shades"], "policy": "lenient"}
    return str(send(client, "/v1/models", json=model)["id"])


def upload(client: httpx.Client, name: str, classes: dict[str, Any], count: int) -> None:
    send(client, "/v1/datasets", json={"name": name, "kind": "labelled"})
    files = [
        (text, (f"{text}-{n}.png", picture(colour, f"{text} {n}"), "image/png"))
        for text, colour in classes.items()
        for n in range(count)
    ]
    send(client, f"/v1/datasets/{name}/images", files=files)
    send(client, f"/v1/datasets/{name}/versions")


def picture(colour: tuple[int, int, int], seed: str) -> bytes:
    """Return a small noisy picture of a colour."""
    random, out = Random(seed), io.BytesIO()
    pixels = bytes(channel + random.randrange(16) for _ in range(144) for channel in colour)
    Image.frombytes("RGB", (12, 12), pixels).save(out, "PNG")
    return out.getvalue()


def order(client: httpx.Client, *, seed: int) -> str:
    """Order an update of the live version; its job."""
    update = {"type": "update", "model": "line", "dataset": "colours", "dataset_version": 1}
    return str(send(client, "/v1/jobs", json={**update, "recipe": {**RECIPE, "seed": seed}})["id"])


def present_environment() -> dict[str, str]:
    """Name this machine's arithmetic as the present release does."""
    code = (
        "import json, torch; from core.clip.machine import environment;"
        "print(json.dumps(environment(torch.device('cpu'), 1)))"
    )
    present = HERE.parents[2]
    found: dict[str, str] = json.loads(
        run(sys.executable, "-c", code, env={**os.environ, "PYTHONPATH": str(present)})
    )
    return found


def run(*command: str, **options: Any) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


if __name__ == "__main__":
    main()
