"""The modules that importing CLIP loads."""

import subprocess
import sys

# A box of the whole image gives back its mean.
PROGRAM = """
import sys
import core.clip.model
heavy = {"transformers", "torch._dynamo", "sympy"}
print(*sorted(heavy & sys.modules.keys()))

import torch
from torchvision.ops import roi_align
images, boxes = torch.full((1, 1, 4, 4), 3.0), [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
print(roi_align(images, boxes, 1).item())

import transformers
print(transformers.CLIPConfig.model_type)
"""


def test_clip_leaves_out_what_it_never_runs_and_others_may_still_import_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["", "3.0", "clip"]
