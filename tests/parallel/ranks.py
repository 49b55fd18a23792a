"""Processes that train together, as `torchrun` starts them, but forked from one Python: torch is imported once.

    python ranks.py 2 '[{"kind": "gradient", "out": "runs/a", "fault": [1, 30, "term"]}, ...]'

Each process goes through the list, and writes how each training ended for it to OUT.RANK.json. A fault happens in one
process, before its n-th batch: "term", "int" and "kill" are signals, "error" is raised.
"""

import hashlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import torch
from training.workload import Waves, train

FAULTS = {"term": signal.SIGTERM, "int": signal.SIGINT, "kill": signal.SIGKILL}


def digest(learner: torch.nn.Module) -> str:
    """Of the bytes of all weights and buffers."""
    state = learner.state_dict()
    return hashlib.sha256(b"".join(state[k].numpy().tobytes() for k in sorted(state))).hexdigest()


def faulty(fault: Any, rank: int) -> Waves:
    """Tasks that come with a fault in one process."""
    calls = 0

    def before_batch() -> None:
        nonlocal calls
        calls += 1
        if fault is None or (rank, calls) != (fault[0], fault[1]):
            return
        if fault[2] == "error":
            raise RuntimeError("this process had an accident")
        os.kill(os.getpid(), FAULTS[fault[2]])

    return Waves(before_batch)


def follow(order: dict[str, Any], rank: int) -> dict[str, Any]:
    """One training; how it ended here."""
    kind, fault = order.pop("kind"), order.pop("fault", None)
    for name, value in order.pop("of_rank", {}).get(str(rank), {}).items():
        order[name] = value
    try:
        run = train(kind, family=faulty(fault, rank), **order)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"steps": run.steps, "best": run.best_step, "lines": len(run.metrics), "digest": digest(run.learner)}


def _main() -> None:
    torch.set_num_threads(1)
    size, orders = int(sys.argv[1]), json.loads(sys.argv[2])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
            os.environ |= {"MASTER_ADDR": "localhost", **{k: str(v) for k, v in numbers.items()}}
            for order in orders:
                ending = follow(dict(order), rank)
                Path(f"{order['out']}.{rank}.json").write_text(json.dumps(ending))
            os._exit(0)
        children.append(child)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))


if __name__ == "__main__":
    _main()
