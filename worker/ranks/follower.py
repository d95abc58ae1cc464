"""A process that trains along with a worker child. Started by `worker.ranks.launcher`.

Which rank it is and where the ranks meet stands in torchrun's variables: RANK, LOCAL_RANK,
WORLD_SIZE, MASTER_ADDR, MASTER_PORT.
"""

import argparse
import logging
import os
import pickle
import sys

from core import logs
from core.errors import PerennialError, RankLost
from core.loading import loading
from core.logs import hide_environment
from core.settings import read_settings
from worker.parent import exit_with_parent
from worker.ranks.rank_task import RankTask

log = logging.getLogger(__name__)

READY = b"ready\n"
LOST_OTHERS = 75  # exit code of a rank that stopped because another was lost


def main() -> int:
    """Follow rank 0 through one update, read from standard input; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker.ranks.follower", description=__doc__)
    parser.add_argument("--parent", required=True, type=int, help="rank 0's process id")
    arguments = parser.parse_args()
    hide_environment()
    # Only the parent can write to standard input, so the pickle is its own.
    task: RankTask = pickle.load(sys.stdin.buffer)  # noqa: S301
    exit_with_parent(arguments.parent)
    logs.configure(read_settings(), process="rank", rank=os.environ["RANK"])

    with loading():
        import torch  # takes seconds

        from core.learning.distributed import DETERMINISTIC, process_group, rank_device
        from core.learning.trainer import run_follower
        from core.settings import thread_count

    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the parent reads the pipe no further
    torch.set_deterministic_debug_mode(DETERMINISTIC)  # as rank 0: NCCL chooses by it
    device = rank_device(torch.device(task.device), int(os.environ["LOCAL_RANK"]))
    try:
        with process_group(device) as ranks:
            run_follower(
                task.spec,
                task.artifacts,
                ranks,
                resume=task.resume,
                device=device,
                threads=thread_count(task.threads),
            )
    except RankLost:
        return LOST_OTHERS
    except PerennialError as fault:
        log.warning("rank %s exits: %s", os.environ["RANK"], fault.message)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)  # tearing torch down takes a second, and rank 0 would wait
