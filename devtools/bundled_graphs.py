"""Write the graphs of the bundled model's architecture: `python -m devtools.bundled_graphs`.

They are shipped, so that a new installation need not export them, which takes about 15 seconds. To
be run again after `MADE_BY` of `core/engines/rules.py` has been raised.
"""

import torch

from core.clip.bases import BUNDLED, read_folder
from core.clip.compile import SHIPPED
from core.clip.graphs import write_graphs
from core.clip.model import ClipModel


def main() -> None:
    """Write the file."""
    config, network = read_folder(BUNDLED)
    model = ClipModel.build(config, network.state_dict(), torch.device("cpu")).freeze()
    SHIPPED.write_bytes(write_graphs(model).to_bytes() + b"\n")


if __name__ == "__main__":
    main()
