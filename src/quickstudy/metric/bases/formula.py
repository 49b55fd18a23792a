"""The terms of a formula as a basis, through the package formulaic."""

import json
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.checks import shown
from quickstudy.extras import missing_package


@final
class Formula(nn.Module):
    """The columns of a formula's model matrix, such as "1 + day + bs(dose, df=4)"; needs formulaic.

    What a term takes from the data (the knots of `bs`, the mean of `center`) is fixed by `place` and saved with the
    weights. A formula is code, which is never read from a file: to load such a learner, build it again and give it to
    `qs.load` as `learner=`. Features are computed outside of torch, so no gradient reaches the inputs.

    Args:
        formula: the right-hand side, in formulaic's notation, which is much like that of R.
        names: a name for each input, in their order.

    Raises:
        ModuleNotFoundError: if formulaic is not installed; it is in the extra `formula`.
        ValueError: for a formula that formulaic cannot read, or with a response.

    >>> basis = Formula("1 + day + I(day**2)", ["day"])
    >>> basis(torch.tensor([[3.0]]).double()), basis.terms
    (tensor([[1., 3., 9.]], dtype=torch.float64), ('Intercept', 'day', 'I(day ** 2)'))
    """

    def __init__(self, formula: str, names: Sequence[str]):
        super().__init__()
        if not isinstance(formula, str) or isinstance(names, str) or not all(isinstance(n, str) for n in names):
            raise TypeError(
                f"formula={shown(formula)}, names={shown(names)}; expected a text, and a list of names for the inputs"
            )
        self.text, self.names, self.dx = formula, list(names), len(names)
        self.formula = _State()
        example = torch.linspace(0.5, 1.5, 32, dtype=torch.float64, device="cpu").unsqueeze(1).expand(-1, self.dx)
        self.terms: tuple[str, ...] = tuple(map(str, self._spec(example).column_names))
        self.features = len(self.terms)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"formula": self.text, "names": self.names}

    def forward(self, x: Tensor) -> Tensor:
        """The features at `x [*points, dx]`. Raises ValueError for a term whose columns depend on the data."""
        rows = x.detach().reshape(-1, self.dx)
        if not len(rows):
            return x.new_zeros(*x.shape[:-1], self.features)
        spec = self._spec(rows, self.formula.state)
        if len(spec.column_names) != self.features:
            raise ValueError(
                f"the formula {self.text!r} has {len(spec.column_names)} columns on these data and {self.features} on "
                "others; inputs are numbers here, so leave categories (C(...)) out"
            )
        matrix = spec.get_model_matrix(_frame(rows, self.names), na_action="ignore", output="numpy")
        return torch.as_tensor(matrix, dtype=x.dtype).to(x.device).reshape(*x.shape[:-1], self.features)

    def place(self, x: Tensor) -> None:
        """Fix what the terms take from the data to that of the rows `x [rows, dx]`."""
        self.formula.state = self._spec(x).transform_state

    def to_terms(self) -> Tensor:
        """The identity: the terms are the features themselves."""
        return torch.eye(self.features, dtype=torch.float64)

    def _spec(self, x: Tensor, state: dict[str, Any] | None = None) -> Any:
        """The formula as it is on the rows `x`, or with the given state."""
        try:
            from formulaic import ModelSpec
            from formulaic.errors import FormulaicError
        except ModuleNotFoundError as error:
            raise missing_package("formulaic", "formula", "a Formula needs formulaic") from error
        try:
            known = ModelSpec.from_spec(
                self.text, transform_state=dict(state or {}), output="numpy", na_action="ignore"
            )
            spec = known.get_model_matrix(_frame(x, self.names)).model_spec
        except (FormulaicError, AttributeError, SyntaxError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"formulaic cannot build {self.text!r} of the inputs {', '.join(self.names)} ({reason}); expected a "
                "right-hand side such as '1 + day + bs(dose, df=4)'"
            ) from error
        return spec


class _State(nn.Module):
    """What the terms of a formula took from the data, as part of the `state_dict`: JSON, one byte a number."""

    def __init__(self) -> None:
        super().__init__()
        self.state: dict[str, Any] = {}

    def get_extra_state(self) -> Tensor:
        return torch.tensor(list(json.dumps(_plain(self.state)).encode()), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        self.state = _restored(json.loads(bytes(state.tolist())))


def _frame(x: Tensor, names: Sequence[str]) -> Any:
    import pandas as pd

    return pd.DataFrame(x.cpu().numpy(), columns=list(names))


def _plain(value: Any) -> Any:
    """A state for JSON: dictionaries, whose keys may be numbers, as lists of pairs."""
    if isinstance(value, dict):
        return {"pairs": [[key, _plain(entry)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, str | bool | int) else float(value)


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _restored(entry) for key, entry in value["pairs"]}
    return [_restored(entry) for entry in value] if isinstance(value, list) else value
