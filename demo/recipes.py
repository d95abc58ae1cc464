"""The recipes of the demo's two updates.

Both learn from the same images for the same number of epochs. Each was tuned on validation data
with seeds that the demo does not use (`make bench-tune-demo`), by its own criterion: fine-tuning
by accuracy on the new classes, VR-LwF by the mean of that and the accuracy on the suite.
"""

from typing import Any

PROMPT = "this is a photo of {name} ."  # the template the bundled model was trained with

COMMON: dict[str, Any] = {"epochs": 6, "batch_size": 100, "optimiser": "adam"}
VRLWF: dict[str, Any] = {"method": "vrlwf", "learning_rate": 3e-4, "replay_weight": 6.0}
FINE_TUNING: dict[str, Any] = {"method": "ft", "learning_rate": 1e-3}
# The best fine-tuning by VR-LwF's criterion; `make bench-demo-seeds` runs it beside the other two.
GENTLE_FINE_TUNING: dict[str, Any] = {"method": "ft", "learning_rate": 1e-4}

POLICY: dict[str, Any] = {
    "name": "small-model",
    "parent_tolerance": 0.06,
    "root_tolerance": 0.06,
    "holdout_tolerance": 0.06,
    "reason": (
        "A 9-million-parameter model forgets more than a large one, and 1,500 test images leave "
        "an interval of about two points either way: 6 points instead of 3 and 5."
    ),
}
