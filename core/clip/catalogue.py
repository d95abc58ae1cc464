"""The catalogue of open_clip's architectures and pre-trained weights.

`python -m core.clip.catalogue` prints core/bases/open_clip.json. The API, which has neither torch
nor open_clip, reads there which architectures open_clip has, the weights that it lists for each,
and why some cannot be trained.
"""

import json
import sys
from typing import Any

import open_clip

from core.registry.architecture import untrainable_reason


def catalogue() -> dict[str, Any]:
    """Return `{architecture: {"weights": [tag], "obstacle": reason or None}}`."""
    return {
        name: {
            "weights": open_clip.list_pretrained_tags_by_model(name),
            "obstacle": untrainable_reason(open_clip.get_model_config(name)),
        }
        for name in sorted(open_clip.list_models())
    }


def to_text() -> str:
    """Return the catalogue as the text of the committed file."""
    return json.dumps(catalogue(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(to_text())
