"""Mirror a model to a real MLflow server, serve it there, and guard an alias: `make test-mlflow`.

The server and MLflow's own client run in an environment of their own, whose packages do not fit
this one's. Ends with an error if the mirror is not what the service says, if the model that MLflow
serves answers otherwise than the service, or if a move to a version is left standing that the gate
has not passed.
"""

import argparse
import base64
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.mlflow.stand import MODEL, Stand, a_stand
from demo.images import PackImage, by_class, named
from devtools.ports import free_port

BEST = 3
# Both compute by ONNX Runtime in fp32: cosines to about 1e-6, logits to 100 times that.
TOLERANCE = 1e-3

Answers = Sequence[Sequence[Mapping[str, Any]]]


def main() -> None:
    """Mirror, check, serve, move at random; end with an error unless all is as it must be."""
    parser = argparse.ArgumentParser(prog="make test-mlflow ARGS=...", description=__doc__)
    parser.add_argument("--moves", type=int, default=10_000, help="at random (default: 10,000)")
    parser.add_argument("--waited", type=float, default=0.05, help="share of bad ones waited for")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moves")
    parser.add_argument("--every", type=float, default=0.05, help="seconds between looks")
    parser.add_argument("--direct", action="store_true", help="move past MLflow's server")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, a_stand(Path(home)) as stand:
        first, again = stand.mirror("--loadable"), stand.mirror("--loadable")
        assert first == {"versions": 3, "reports": 2, "models": 1, "aliases": 1}, first
        assert not any(again.values()), again
        check(stand)
        print("The mirror shows what the service says.")
        difference = served(stand)
        print(f"MLflow serves the service's answers; the greatest difference is {difference:.1e}.")
        bad = stand.bad()
        with stand.guarding(chosen.every) as events:
            found = stand.move(
                chosen.moves, seed=chosen.seed, waited=chosen.waited, direct=chosen.direct
            )
    wrong = [one for one in events if one["from_version"] not in bad]
    assert not wrong, wrong
    assert found["at"] not in bad, found
    print(
        f"{chosen.moves:,} moves in {found['seconds']:.0f} s, {found['bad']:,} of them to a version"
        f" that had not passed: the guard moved back {len(events):,}, and none is left standing."
    )
    if stood := found["stood"]:
        print(
            f"Of {len(stood):,} that were waited for, half stood up to {median(stood):.2f} s, the"
            f" longest {max(stood):.2f} s."
        )


def check(stand: Stand) -> None:
    """See by MLflow's HTTP API that it shows what the service says."""
    api = f"{stand.registry}/api/2.0/mlflow"
    numbers, live = stand.numbers(), stand.client.aliases.get(MODEL)["version"]
    found = {one["version"]: one for one in stand.versions()}
    with httpx.Client(trust_env=False) as http:
        for version in stand.client.versions.list(MODEL):
            one = found.pop(numbers[version["version"]])
            tags = {tag["key"]: tag["value"] for tag in one["tags"]}
            assert tags["perennial.digest"] == version["digest"]
            assert tags["perennial.verdict"] == (version["verdict"] or "none")
            listed = http.get(f"{api}/artifacts/list", params={"run_id": one["run_id"]}).json()
            files = {file["path"] for file in listed.get("files", [])}
            assert ({"report.json", "report.html"} <= files) == bool(version["verdict"]), files
            assert ({"MLmodel", "model", "code"} <= files) == (version["version"] == live), files
        assert found == {}
        model = http.get(f"{api}/registered-models/get", params={"name": MODEL}).json()
        at = {one["alias"]: one["version"] for one in model["registered_model"]["aliases"]}
        assert at == {"production": numbers[live]}


def served(stand: Stand) -> float:
    """Compare what MLflow loads and serves with the service; return the greatest difference."""
    images = [*named("twemoji")[100:104], *by_class("fashion_mnist", "test").popitem()[1][:8]]
    answer = stand.client.classify(MODEL, [one.file for one in images], top_k=BEST)
    expected = [one["predictions"] for one in answer["data"]]
    name, port = f"models:/{MODEL}@production", free_port()
    loaded = stand.run(str(Path(__file__).with_name("load.py")), name, *written(stand.home, images))
    words = ("models", "serve", "-m", name, "--env-manager", "local", "--port", str(port))
    rows = [{"image": base64.b64encode(one.data).decode()} for one in images]
    with stand.server(*words, answers="ping", port=port) as url:
        asked = {"dataframe_records": rows, "params": {"top_k": BEST}}
        reply = httpx.post(f"{url}/invocations", json=asked, timeout=120, trust_env=False)
        assert reply.is_success, reply.text
        wrong = {"dataframe_records": [{"image": str(stand.home / "0.png")}]}
        refused = httpx.post(f"{url}/invocations", json=wrong, timeout=120, trust_env=False)
        assert refused.status_code == httpx.codes.BAD_REQUEST, refused.text
    found = [*loaded, reply.json()["predictions"]]
    return max(furthest(one, expected) for one in found)


def written(home: Path, images: Sequence[PackImage]) -> list[str]:
    """Write images to files, and return their paths."""
    paths = [home / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image.data)
    return [str(path) for path in paths]


def furthest(found: Answers, expected: Answers) -> float:
    """Return the greatest difference of a probability; the classes must be the same."""
    differences = []
    for one, other in zip(found, expected, strict=True):
        assert [row["class"] for row in one] == [row["class"] for row in other], (one, other)
        differences += [
            abs(row["probability"] - beside["probability"])
            for row, beside in zip(one, other, strict=True)
        ]
    assert max(differences) <= TOLERANCE, max(differences)
    return max(differences)


if __name__ == "__main__":
    main()
