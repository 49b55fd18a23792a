"""The recipe's studies, its rivals and its scores; running it is tested with the other recipes."""

import math
from pathlib import Path

import pytest
import torch
from recipes import running

from quickstudy.data import Examples
from quickstudy.predictive import Gaussian
from quickstudy.recipes.pharmacokinetics import held_out, rivals, studies
from quickstudy.recipes.pharmacokinetics.options import Options
from quickstudy.recipes.pharmacokinetics.recipe import KINDS, run
from quickstudy.recipes.pharmacokinetics.two_stage import TwoStage
from quickstudy.tasks import Compartments


def test_the_real_studies() -> None:
    drug, other = studies.studies(Options())
    assert (drug.concentration.shape, other.concentration.shape) == ((12, 11), (6, 11))
    assert drug.x[0, 0].tolist() == [0.0, 4.02] and float(drug.concentration[0, 0]) == 0.74
    assert other.x[5, -1].tolist() == [8.0, 25.0] and float(other.concentration[5, -1]) == 0.09
    everybody = list(range(12))
    assert drug.limit(everybody) == pytest.approx(0.15, rel=1e-2) and other.limit(list(range(6))) == 0
    assert drug.limit([0, 1]) == pytest.approx(0.74, rel=1e-2) and drug.limit([0]) == 0
    assert drug.model(carry_over=True).carry_over and not other.model(carry_over=True).carry_over


def test_zeros_are_below_the_limit_or_left_out() -> None:
    drug = studies.theophylline()
    with_limit, without = drug.examples([1], 0.15), drug.examples([1], 0.0)
    assert float(with_limit.y[0, 0]) < math.log(0.15) and bool(with_limit.real().all())
    assert without.real().tolist() == [[False] + [True] * 10]
    left_out = held_out.person(drug, 1, 4)
    assert left_out.asked.y.flatten().exp().tolist() == pytest.approx([8.33, 6.85, 6.08, 5.40, 4.55, 3.01, 0.90])


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    named = {"task": "who", "x": "hours", "y": "level"}
    [study] = studies.studies(Options(data=running.samples(tmp_path), dose="dose", **named))
    assert study.drug == "samples" and study.people == ("p0", "p1", "p2", "p3", "p4")
    assert study.x[2, 3].tolist() == [2.0, 4.0]
    [equal] = studies.studies(Options(data=running.samples(tmp_path), **named))
    assert bool((equal.x[..., 1] == 1).all())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("p1,2,", "p1,2,-"), "samples, who p1: the concentration -.* is negative; write 0"),
        ((",4\n", ",0\n"), r"samples, who p0: doses \[0\.0, 4\.0\]; expected one positive dose"),
        (("p0,0,0.0,4", "p0,soon,0.0,4"), "hours"),
    ],
)
def test_broken_files(change: tuple[str, str], match: str, tmp_path: Path) -> None:
    path = running.samples(tmp_path)
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(ValueError, match=match):
        studies.studies(Options(data=path, task="who", x="hours", y="level", dose="dose"))


def test_a_person_with_nothing_to_predict() -> None:
    drug = studies.theophylline()
    with pytest.raises(ValueError, match=r"theophylline: 1 has no concentration above 0 after the first 11 samples"):
        held_out.person(drug, 0, 11)


def test_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match="--device cuda: this recipe computes on the CPU"):
        run(Options(device="cuda"), None)  # type: ignore[arg-type]


def test_scores() -> None:
    """Of a belief that is known: a normal one around the samples, a logarithm of 0.2 too high."""
    left_out = held_out.person(studies.indometacin(), 0, 4)

    def predict(_: Examples, x: torch.Tensor) -> Gaussian:
        assert torch.equal(x, left_out.asked.x)
        return Gaussian(left_out.asked.y + 0.2, torch.full_like(left_out.asked.y, 0.01))

    found = held_out.scores(left_out, predict, 4)
    density = -0.5 * (4 + math.log(2 * math.pi * 0.01))
    assert found == pytest.approx({"log_rmse": 0.2, "log_likelihood": density, "coverage90": 0.0})


def test_the_two_stage_method_finds_exact_curves() -> None:
    """Of people without errors, whose doses differ."""
    model, hours = Compartments(1, "oral"), torch.tensor([0.3, 0.8, 2.0, 5.0, 9.0, 15.0]).double()
    chance = torch.Generator().manual_seed(0)
    logs = torch.tensor([0.5, -1.0, 0.2]).double() + 0.3 * torch.randn(10, 3, generator=chance, dtype=torch.float64)
    dose = torch.linspace(1, 5, 10).double().view(-1, 1, 1).expand(-1, 6, 1)
    x = torch.cat([hours.view(1, 6, 1).expand(10, 6, 1), dose], 2)
    y = model.log_concentration(logs, hours).unsqueeze(2) + dose.log()
    people = Examples(x, y)
    two = TwoStage.fit(model, people.select(slice(0, 9)))
    torch.testing.assert_close(two.center, logs[:9].mean(0), atol=0.02, rtol=0)
    belief = two.predict(people.select(9).first(4), x[9:])
    torch.testing.assert_close(belief.mean, y[9:], atol=0.1, rtol=0)


def test_rivals_see_neither_doses_nor_samples_before_them() -> None:
    """A twofold dose doubles what they predict; a sample before the dose changes nothing."""
    study = studies.theophylline()
    learner = rivals._on_logarithm_of_time(_Constant(), 0.1)
    samples = study.examples([11], 0.1)
    doubled = samples.x * torch.tensor([1.0, 2.0]).double()
    one, two = learner(samples, samples.x).mean, learner(samples, doubled).mean
    torch.testing.assert_close(two, one + math.log(2))


class _Constant:
    """Adapts to nothing, and checks what it is given."""

    def adapt(self, support: Examples) -> "_Constant":
        assert support.x.shape[2] == 1 and support.real()[0, 0].item() is False
        return self

    def __call__(self, x: torch.Tensor) -> Gaussian:
        return Gaussian(torch.zeros_like(x), torch.ones_like(x))


def test_simulated_studies_are_sorted_and_repeatable() -> None:
    for family in KINDS.values():
        one, two = (studies.simulated(family, 2, 11, 3) for _ in range(2))
        assert len(one) == 2 and one[0].concentration.shape == (family.people, 11)
        assert bool((one[0].x[..., 0].diff(dim=1) >= 0).all()) and bool((one[0].concentration > 0).all())
        assert torch.equal(one[1].concentration, two[1].concentration)
        assert not torch.equal(one[0].concentration, one[1].concentration)
