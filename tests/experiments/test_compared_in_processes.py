"""The comparison of learners in several processes, at its real sizes, which tests/recipes makes smaller."""

import json
from dataclasses import replace

import pytest
import torch
from recipes import running
from recipes.test_sinusoid_compare import SMALL

from quickstudy.experiments.execute import execute


@pytest.mark.slow  # test_side_by_side.py tests this quickly for one recipe
def test_several_processes_give_the_same_results_as_one(tmp_path):
    small = replace(SMALL, methods=("maml", "pretrained"), seeds=(0, 1), steps=3)
    threads, said = torch.get_num_threads(), running.Kept()
    many = execute("sinusoid-compare", replace(small, parallel=2, out=tmp_path / "many"), reporter=said)
    assert "tuning 2 learners, 2 at a time" in said.lines and "2 learners of 2 seeds, 2 at a time" in said.lines
    try:
        torch.set_num_threads(json.loads((tmp_path / "many/seed-0/maml/config.json").read_text())["threads"])
        one = execute("sinusoid-compare", replace(small, parallel=1, out=tmp_path / "one"))
    finally:
        torch.set_num_threads(threads)
    assert one["metrics"] == many["metrics"] and many["seconds"] > 0
    choices = [json.loads((tmp_path / run / "choices.json").read_text()) for run in ("many", "one")]
    assert [c["trials"] for c in choices[0].values()] == [c["trials"] for c in choices[1].values()]
