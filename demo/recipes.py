"""The recipes of the demo's updates, and the gate policy that judges them.

An update by the service's default recipe overrides nothing but the seed. Fine-tuning has the
learning rate that is best on the new classes, as it is usually tuned (docs/studies/demo.md).
"""

from typing import Any

PROMPT = "this is a photo of {name} ."  # the template the bundled model was trained with

FINE_TUNING: dict[str, Any] = {"method": "ft", "learning_rate": 1e-3}
# The rate that is best on new classes and suite together; `make bench-demo-seeds` runs it as well.
GENTLE_FINE_TUNING: dict[str, Any] = {"method": "ft", "learning_rate": 1e-4}

POLICY: dict[str, Any] = {
    "name": "small-model",
    "parent_tolerance": 0.06,
    "root_tolerance": 0.06,
    "holdout_tolerance": 0.1,
    "minimum_count": 100,
    "reason": (
        "A 9-million-parameter model forgets more than a large one, and 1,500 test images leave "
        "an interval of about two points either way: 6 points instead of 3 and 5. The holdout of "
        "five classes has only about 160 test images, which leave about five points either way: "
        "10 points instead of 5, judged from 100 images on instead of 500."
    ),
}
