"""A training for `torchrun`: process 1 kills itself before its batch 25, the first time.

    torchrun --standalone --nproc-per-node 2 --max-restarts 1 elastic.py KIND OUT

OUT.starts has a digit for each time that process 1 was started: how often it had been restarted.
"""

import os
import sys

import torch
from parallel.ranks import faulty
from training.workload import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, restarts = int(os.environ["RANK"]), os.environ["TORCHELASTIC_RESTART_COUNT"]
    if rank == 1:
        with open(f"{sys.argv[2]}.starts", "a") as file:
            file.write(restarts)
    train(sys.argv[1], sys.argv[2], faulty([1, 25, "kill"] if restarts == "0" else None, rank), tasks=5)
