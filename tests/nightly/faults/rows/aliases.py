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


def races(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """So many moves won, by 50 clients at once; each won move is a try."""
    stage.ready()
    ended = stage.wait_for_end(stage.order())
    before = stage.client.get(PATH).json()["revision"]
    codes: Counter[int] = Counter()
    lock = Lock()

    def make_moves(seed: int) -> None:
        """One client: look, decide by what was seen, move; then look again, or go by the answer."""
        choices = Random(seed)
        seen: httpx.Response | None = None
        with stage.new_client() as http:
            while codes[200] < tries:
                seen = seen or http.get(PATH)
                tag = {"If-Match": seen.headers["ETag"]}
                if seen.json()["version"] == 1:
                    # Back to what the live version came from is a rollback, and no promotion.
                    body = {"version": ended.version, "reason": "a race"}
                    answer = http.put(PATH, json=body, headers=tag)
                else:
                    body = {"reason": "a race", "to": 1}
                    answer = http.post(f"{PATH}/rollback", json=body, headers=tag)
                with lock:
                    codes[answer.status_code] += 1
                seen = answer if answer.status_code == 200 and choices.random() < 0.5 else None

    began = now()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(make_moves, [moments.randrange(1 << 30) for _ in range(CLIENTS)]))
    took = now() - began
    line.live_version(stage.platform)  # a history row for each revision
    made = stage.client.get(PATH).json()["revision"] - before
    wins = codes[200]
    yield from (Try(what=f"move {number}") for number in range(min(wins, tries) - 1))
    yield Try(
        what=f"{wins} won, {codes[412]} refused by 412 in {took:.0f} s",
        trouble=f"answers: {codes}" if codes.keys() - {200, 412} else "",
        lost=max(wins - made, 0),
        duplicated=max(made - wins, 0),
    )


def rollback(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Promote, roll back, and ask what an image is until the old version answers as it did."""
    stage.ready()
    ended = stage.wait_for_end(stage.order())
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
