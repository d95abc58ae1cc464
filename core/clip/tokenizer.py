"""CLIP's tokenizer in bounded time and memory, whatever texts it is given."""

from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import pairwise

from open_clip import SimpleTokenizer

KEPT = 50_000  # words; about 10 MB
KEPT_LENGTH = 64  # bytes of a word


class BoundedTokenizer(SimpleTokenizer):  # type: ignore[misc]
    """open_clip's tokenizer with the same tokens for every text.

    open_clip's own keeps every word for ever, and takes time that grows with the square of a word's
    length: a text of 2,000 letters without a blank takes it a second or more.
    """

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self._known = lru_cache(maxsize=KEPT)(self._merged)

    def bpe(self, token: str) -> str:
        """Return the tokens of a word of the byte alphabet, with a blank between each two."""
        if token in self.cache:  # the special tokens
            special: str = self.cache[token]
            return special
        return self._known(token) if len(token) <= KEPT_LENGTH else self._merged(token)

    def _merged(self, token: str) -> str:
        """Merge the pair of the lowest rank, the leftmost first, until no pair has a rank.

        Takes n log n steps. Pieces are a list in which a merged piece's right part is emptied.
        """
        pieces = [*token[:-1], token[-1] + "</w>"]
        after = [*range(1, len(pieces)), len(pieces)]  # the place of the next piece
        before = [*range(-1, len(pieces) - 1)]
        ranks = self.bpe_ranks
        waiting = [
            (rank, place)
            for place, pair in enumerate(pairwise(pieces))
            if (rank := ranks.get(pair)) is not None
        ]
        heapify(waiting)
        while waiting:
            rank, left = heappop(waiting)
            right = after[left]
            if right == len(pieces) or ranks.get((pieces[left], pieces[right])) != rank:
                continue  # one of the two has been merged
            pieces[left] += pieces[right]
            pieces[right] = ""
            after[left] = after[right]
            if after[left] < len(pieces):
                before[after[left]] = left
            for first in (before[left], left):
                second = after[first] if first >= 0 else len(pieces)
                if second < len(pieces):
                    rank_now = ranks.get((pieces[first], pieces[second]))
                    if rank_now is not None:
                        heappush(waiting, (rank_now, first))
        return " ".join(filter(None, pieces))
