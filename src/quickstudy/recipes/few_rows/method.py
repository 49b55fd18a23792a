"""A method of your own in the comparison, from one Python file."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from quickstudy.tables.candidates import Candidate


def read_method(path: Path) -> Candidate:
    """The method in a Python file: its function `fit(table, seed, most)`, named by the file.

    `fit` receives a `qs.tasks.Table` whose training groups are in standard units, a seed, and the largest number of
    rows that will be seen of a group. It returns a learner: a module with `adapt(support)`, whose predictor gives
    beliefs with `log_prob`, `cdf`, `mean` and `rescale` (those of `quickstudy.predictive` have all of them).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no function `fit`.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"--method {path}: there is no such file; give a Python file with fit(table, seed, most)"
        )
    spec = spec_from_file_location(f"quickstudy_method_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"--method {path} is no Python file; give one with a function fit(table, seed, most)")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # so that dataclasses and pickles in the file find it
    spec.loader.exec_module(module)
    fit = getattr(module, "fit", None)
    if not callable(fit):
        raise ValueError(f"--method {path} has no function fit(table, seed, most); see the page `few rows` of the docs")
    return Candidate(path.stem, fit, rival=True)
