"""Many clients promote and roll back at once; rollback after promotion, as inference sees it."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Lock

import httpx

from core.registry.aliases import PRODUCTION
from tests.nightly.faults import line
from tests.nightly.faults.stage import Stage, now, until
from tests.nightly.faults.tries import Try
from tests.support.api.image_files import picture

CLIENTS = 50

SOON_S = 1.0

PATH = f"/v1/models/{line.MODEL}/aliases/{PRODUCTION}"


class Moves:
    """Moves that clients make until so many have been won between them."""

    def __init__(self, stage: Stage, wanted: int, version: int) -> None:
        self._stage = stage
        self._version = version
        self._wanted = wanted
        self._lock = Lock()
        self.codes: Counter[object] = Counter()

    def make(self, seed: int) -> None:
        """One client: look, decide by what was seen, move; then look again, or go by the answer."""
        choices = Random(seed)
        seen: httpx.Response | None = None
        with self._stage.new_client() as http:
            while self.codes[200] < self._wanted:
                seen = seen or http.get(PATH)
                tag = {"If-Match": seen.headers["ETag"]}
                if seen.json()["version"] == 1 or choices.random() < 0.3:
                    # Back to what the live version came from is a rollback, and no promotion.
                    body = {"version": self._version, "reason": "a race"}
                    answer = http.put(PATH, json=body, headers=tag)
                else:
                    body = {"reason": "a race", "to": 1}
                    answer = http.post(f"{PATH}/rollback", json=body, headers=tag)
                with self._lock:
                    self.codes[answer.status_code] += 1
                seen = answer if answer.status_code == 200 and choices.random() < 0.5 else None


def races(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """So many moves won, by 50 clients at once; each won move is a try."""
    stage.ready()
    ended = stage.wait_for_end(stage.order())
    assert ended.version is not None
    before = stage.client.get(PATH).json()["revision"]
    moves, began = Moves(stage, tries, ended.version), now()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(moves.make, [moments.randrange(1 << 30) for _ in range(CLIENTS)]))
    took = now() - began
    line.live_version(stage.platform)  # a history row for each revision
    made = stage.client.get(PATH).json()["revision"] - before
    wins, others = moves.codes[200], set(moves.codes) - {200, 412}
    yield from (Try(what=f"move {number}") for number in range(min(wins, tries) - 1))
    yield Try(
        what=f"{wins} won, {moves.codes[412]} refused by 412 in {took:.0f} s",
        trouble=f"answers: {moves.codes}" if others else "",
        lost=max(wins - made, 0),
        duplicated=max(made - wins, 0),
    )


def rollback(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Promote, roll back, and ask what an image is until the old version answers as it did."""
    stage.ready()
    ended = stage.wait_for_end(stage.order())
    assert ended.version is not None
    images = [picture(moments.randrange(1 << 20)) for _ in range(4)]
    line.go_back_to_root(stage.platform)
    before = until(lambda: stage.classify(images))
    for _ in range(tries):
        tag = {"If-Match": stage.client.get(PATH).headers["ETag"]}
        body = {"version": ended.version, "reason": "again"}
        assert stage.client.put(PATH, json=body, headers=tag).status_code == 200
        promoted = now()
        up = until(lambda: _served(stage, images, stage.undisturbed))
        up_s = up - promoted
        done = stage.client.post(f"{PATH}/rollback", json={"reason": "it forgot"})
        assert done.status_code == 200, done.text
        moved = now()
        back = until(lambda: _served(stage, images, before["digest"])) - moved
        present = stage.classify(images)
        yield Try(
            what=f"promotion served after {up_s:.2f} s",
            slow=f"more than {SOON_S} s" if up_s > SOON_S else "",
            equal=done.json()["digest"] == before["digest"] and present == before,
            recovery_s=back,
        )


def _served(stage: Stage, images: list[bytes], digest: object) -> float | None:
    """When this digest answered, if it does now."""
    answer = stage.classify(images)
    return now() if answer is not None and answer["digest"] == digest else None
