"""Features for mixed models: against scipy's natural splines, against each other, saved and loaded."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from torch import nn

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.metric.bases import Crossed, Formula, Function, NaturalSpline, Polynomial
from quickstudy.metric.bases.basis import Basis

X = torch.linspace(1990, 2020, 31, dtype=torch.float64).unsqueeze(1)
MADE = {
    "polynomial": lambda: Polynomial(2),
    "spline": lambda: NaturalSpline(4),
    "function": lambda: Function(lambda x: torch.cat([x, x.sin()], -1), 2),
    "formula": lambda: Formula("x + center(x)", ["x"]),
}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize("name", MADE)
def test_every_basis_is_one(name):
    basis = MADE[name]()
    assert isinstance(basis, Basis) and isinstance(basis, nn.Module)
    basis.place(X)
    assert len(basis.terms) == len(set(basis.terms)) == basis.features
    for shape in ((4, 1), (2, 3, 1), (2, 0, 1)):
        assert basis(torch.rand(shape)).shape == (*shape[:-1], basis.features)
    assert basis.to_terms().shape == (basis.features, basis.features)


def test_a_natural_spline_is_that_of_scipy():
    """Whatever values it has at its knots, the curve through them is a sum of the features; beyond them, a line."""
    basis = NaturalSpline(5)
    basis.place(X)
    knots = basis.places[0] * basis.scale.spread + basis.scale.center
    assert knots[[0, -1]].tolist() == [1990.0, 2020.0]
    values = torch.randn(5)
    weights = torch.linalg.solve(basis(knots.unsqueeze(1)), values)
    wanted = CubicSpline(knots.numpy(), values.numpy(), bc_type="natural")(X[:, 0].numpy())
    np.testing.assert_allclose((basis(X) @ weights).numpy(), wanted, atol=1e-9)
    beyond = basis(torch.tensor([[2030.0], [2040.0], [2050.0]])) @ weights
    torch.testing.assert_close(beyond[2] - beyond[1], beyond[1] - beyond[0])


def test_coefficients_of_powers_are_in_the_units_of_the_data():
    basis = Polynomial(3, dx=3, inputs=[2, 0])
    x = torch.randn(50, 3) * 3 + torch.tensor([5.0, 0.0, -2.0])
    basis.place(x)
    own = torch.randn(7)
    plain = torch.cat([x[:, :1] ** 0, *[x[:, [i]] ** k for i in (2, 0) for k in (1, 2, 3)]], 1)
    torch.testing.assert_close(plain @ (basis.to_terms() @ own), basis(x) @ own)
    assert basis.terms == ("1", "x2", "x2^2", "x2^3", "x0", "x0^2", "x0^3")


def test_a_curve_in_time_whose_slope_others_change():
    """The features span those of R's ns(time) + a + b + time:b."""
    basis, spline = Crossed(4, dx=3, products=[2]), NaturalSpline(4)
    x = torch.cat([X.repeat(2, 1), torch.randn(62, 1), torch.arange(2.0).repeat_interleave(31)[:, None]], 1)
    basis.place(x)
    spline.place(x[:, :1])
    plain = torch.cat([spline(x[:, :1]), x[:, 1:], x[:, :1] * x[:, 2:]], 1)
    found = torch.linalg.lstsq(basis(x), plain).solution
    torch.testing.assert_close(basis(x) @ found, plain)
    assert basis.features == plain.shape[1] == len(set(basis.terms)) == torch.linalg.matrix_rank(basis(x))
    assert basis.terms[-1] == "standardised(x0)*standardised(x2)"
    assert Crossed(1, dx=2).features == 3 and Crossed(**basis.config()).features == basis.features
    with pytest.raises(ValueError, match="knots=2"):
        Crossed(2)
    with pytest.raises(ValueError, match="places of inputs, from 1 to dx - 1 = 1"):
        Crossed(dx=2, products=[0])


def test_a_formula_is_what_its_terms_say(tmp_path):
    """The same estimates as of powers; what its terms take from the data survives a file, without its code."""
    data = Examples(torch.rand(12, 5, 2) * 4, torch.randn(12, 5, 1))
    plain = qs.MixedModel(2, fixed=Polynomial(2, dx=2, inputs=[0]), random=0).fit(data)
    found = qs.MixedModel(2, fixed=Formula("day + I(day**2)", ["day", "dose"]), random=0).fit(data)
    torch.testing.assert_close(found.fixed, plain.fixed)
    torch.testing.assert_close(found.log_likelihood, plain.log_likelihood)

    def build():
        return qs.MixedModel(2, fixed=Formula("bs(day, df=4) + poly(dose, 2)*day", ["day", "dose"]), random=0)

    model = build()
    model.fit(data)
    path = qs.save(model, tmp_path / "model")
    with pytest.raises(ValueError, match="pass it as learner="):
        qs.load(path)
    x = data.x[:, 3:] * 0.9 + 0.1
    assert torch.equal(qs.load(path, learner=build()).adapt(data)(x).mean, model.adapt(data)(x).mean)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: Polynomial(-1), ValueError, "degree=-1"),
        (lambda: Polynomial(1, dx=2, inputs=[2]), ValueError, r"inputs=\[2\]; expected different places of inputs"),
        (lambda: NaturalSpline(2), ValueError, "knots=2; expected a whole number of at least 3"),
        (lambda: Function(lambda x: x[..., 0], 1)(X), ValueError, r"of shape \[31, 1\]: let it work on the last axis"),
        (lambda: Function(3, 1), TypeError, "function is 3; expected a function of x"),
        (lambda: Formula("day + (", ["day"]), ValueError, r"formulaic cannot build 'day \+ \('"),
        (lambda: Formula("y ~ day", ["day"]), ValueError, "expected a right-hand side"),
        (lambda: Formula("week", ["day"]), ValueError, "of the inputs day"),
        (lambda: Formula("day", "day"), TypeError, "a list of names for the inputs"),
        (lambda: Formula("C(day)", ["day"])(X), ValueError, r"leave categories \(C\(...\)\) out"),
    ],
)
def test_errors(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
