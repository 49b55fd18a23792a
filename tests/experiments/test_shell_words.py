"""Messages about Python's arguments, in the words of the shell."""

import pytest

from quickstudy.experiments.remeasure import NAMES_IN_EVALUATE
from quickstudy.experiments.shell_words import in_shell_words

OPTIONS = {"lr": 0.1, "inner_lr": 0.01, "support": (3, 20), "missing": "error", "x": (), "verify": False, "steps": 5}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("lr=0.1; expected a whole number", "--lr 0.1; expected a whole number"),
        ("lr=0.01: too large", "--inner-lr 0.01: too large"),
        ("lr=7: too large", "--lr 7: too large"),
        ("support=(3, 20): too many; give support= less", "--support 3 20: too many; give --support less"),
        ("x=[]; name a column for x= and for y=", "--x; name a column for --x and for y="),
        ("pass missing='drop' (or leave missing= out)", "pass --missing drop (or leave --missing out)"),
        ("verify=False, verify=True", "--no-verify, --verify"),
        ("query=(3, 20) is odd", "--support 3 20 is odd"),
        ("call `fit(learner, lr=0.1)`, not lr=0.1", "call `fit(learner, lr=0.1)`, not --lr 0.1"),
        ("other.lr=3, --lr=3, xlr=3, and lr", "other.lr=3, --lr=3, xlr=3, and lr"),
        ("nothing to say", "nothing to say"),
    ],
)
def test_arguments_become_options(message: str, said: str) -> None:
    assert in_shell_words(message, OPTIONS) == said


def test_a_command_has_its_own_names_for_options() -> None:
    options = {"seen": (30,), "test_steps": (), "test_seed": 0}
    assert in_shell_words("--seen 30: at most 6", options, NAMES_IN_EVALUATE) == "--support 30: at most 6"
    assert in_shell_words("seed=-1", {"seed": -1}, NAMES_IN_EVALUATE) == "--seed -1"
    assert in_shell_words("num_envs=0: too few", {"support": (0,)}, {"num_envs": "--support"}) == "--support 0: too few"
    assert in_shell_words("--seen-too 3", options, NAMES_IN_EVALUATE) == "--seen-too 3"
