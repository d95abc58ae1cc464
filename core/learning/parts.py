"""Features that are encoded part by part, with the gradient of a loss over all of them."""

from collections.abc import Callable

import torch
from torch import Tensor


class EncodedParts:
    """Features of rows, of which only one part's activations are in memory at a time.

    A loss reads `features`, which are cut off from the encoder and collect the loss's gradient.
    `backward` then encodes each part again and propagates its share, so the encoder's gradient is
    that of the loss over all rows. Rows that are one part are encoded once.

    Source: gradient caching (Gao et al., 2101.06983).
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], rows: Tensor, size: int = 0) -> None:
        """Encode the rows in parts of `size`; 0: all at once."""
        self._encode = encode
        self._parts = torch.split(rows, size or max(1, len(rows)))
        self._kept = encode(rows) if len(self._parts) == 1 else None
        found = (
            [encode(part).detach() for part in self._parts]
            if self._kept is None
            else [self._kept.detach()]
        )
        self.features = torch.cat(found).requires_grad_(True)  # (rows, width)

    def backward(self) -> None:
        """Propagate the accumulated gradient to the encoder's parameters."""
        if self.features.grad is None:
            return
        start = 0
        for part in self._parts:
            encoded = self._encode(part) if self._kept is None else self._kept
            gradient = self.features.grad[start : start + len(part)]
            start += len(part)
            # The same gradient; given as an argument, it would have torch import sympy.
            (encoded * gradient).sum().backward()  # type: ignore[no-untyped-call]
