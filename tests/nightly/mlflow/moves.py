"""Move an alias at random by MLflow's own client; run by the Python that has MLflow.

Prints JSON: how many moves there were and of these bad ones, how long each bad one stood that was
waited for, and what the alias points at once nobody moves it any more.
"""

import json
import sys
import time
from random import Random

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

SETTLED = 20  # looks in a row that find the same
PAUSE_S = 0.02


def present(client: MlflowClient, name: str, alias: str) -> str | None:
    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException:
        return None


def main() -> None:
    url, name, alias, count, seed, *bad = sys.argv[1:]
    client, drawn = MlflowClient(url, url), Random(int(seed))
    versions = sorted(str(one.version) for one in client.search_model_versions(f"name='{name}'"))
    moved_badly, stood = 0, []
    for _ in range(int(count)):
        chosen = drawn.choice(versions)
        client.set_registered_model_alias(name, alias, chosen)
        began = time.monotonic()
        if chosen not in bad:
            continue
        moved_badly += 1
        if drawn.random() < 0.5:  # else the next move comes before anybody could look
            while present(client, name, alias) == chosen:
                time.sleep(PAUSE_S / 10)
            stood.append(time.monotonic() - began)
    at, same = present(client, name, alias), 0
    while same < SETTLED or at in bad:
        time.sleep(PAUSE_S)
        now = present(client, name, alias)
        at, same = now, same + 1 if now == at else 0
    print(json.dumps({"moves": int(count), "bad": moved_badly, "stood": stood, "at": at}))


if __name__ == "__main__":
    main()
