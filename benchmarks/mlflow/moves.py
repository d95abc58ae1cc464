"""Move an alias at random by MLflow's own client; run by the Python that has MLflow.

Prints JSON: how many moves there were and how long they took, how many of these were bad, how long
each bad one stood that was waited for, and what the alias points at once nobody moves it any more.
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
    """Return the version that an alias points at, if there is the alias."""
    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException:
        return None


def main() -> None:
    """Move; arguments: address, model, alias, moves, seed, share to wait for, bad versions."""
    url, name, alias, count, seed, waited, *bad = sys.argv[1:]
    client, drawn = MlflowClient(url, url), Random(int(seed))
    versions = sorted(str(one.version) for one in client.search_model_versions(f"name='{name}'"))
    moved_badly, stood, began = 0, [], time.monotonic()
    for _ in range(int(count)):
        chosen = drawn.choice(versions)
        client.set_registered_model_alias(name, alias, chosen)
        moved = time.monotonic()
        if chosen not in bad:
            continue
        moved_badly += 1
        if drawn.random() < float(waited):  # else the next move may come before any look
            while present(client, name, alias) == chosen:
                time.sleep(PAUSE_S / 10)
            stood.append(time.monotonic() - moved)
    seconds = time.monotonic() - began
    at, same = present(client, name, alias), 0
    while same < SETTLED or at in bad:
        time.sleep(PAUSE_S)
        now = present(client, name, alias)
        at, same = now, same + 1 if now == at else 0
    counts = {"moves": int(count), "seconds": seconds, "bad": moved_badly}
    print(json.dumps({**counts, "stood": stood, "at": at}))


if __name__ == "__main__":
    main()
