"""A training for `torchrun`: process 1 kills itself before its batch 25, the first time.

torchrun --standalone --nproc-per-node 2 --max-restarts 1 elastic.py KIND OUT
"""

import os
import sys

import torch
from training.ranks import faulty
from training.workload import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    train(sys.argv[1], sys.argv[2], faulty([1, 25, "kill"] if first else None, int(os.environ["RANK"])), tasks=5)
