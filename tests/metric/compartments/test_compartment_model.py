"""The learner: units, doses, samples before the dose, limits of quantification, and its messages."""

import warnings
from pathlib import Path

import pytest
import torch

import quickstudy as qs
from quickstudy.data import Examples
from quickstudy.metric.compartments.compartment_model import CompartmentModel
from quickstudy.tasks import DrugStudies

KNOWN = {"half_life": 4.0, "volume": 2.0, "absorption": 1.0, "between": 0.3, "error": 0.1, "jitter": 0.05}


def _people(number: int, seed: int = 0, samples: int = 9) -> Examples:
    family = DrugStudies(people=1, **KNOWN)  # type: ignore[arg-type]
    tasks = family.sample(number, support=0, query=samples, generator=torch.Generator().manual_seed(seed))
    x, order = tasks.query.x.double().sort(1)
    return Examples(x, tasks.query.y.double().gather(1, order))


def _fit(people: Examples, steps: int = 300, **options: object) -> CompartmentModel:
    learner = CompartmentModel(people.x.shape[2], **options).double()  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few steps may not be enough
        learner.fit(people, steps=steps, generator=torch.Generator().manual_seed(0))
    return learner


@pytest.fixture(scope="module")
def learner() -> CompartmentModel:
    return _fit(_people(40))


def test_intervals_hold_for_new_people_of_the_drug(learner: CompartmentModel) -> None:
    new = _people(50, seed=5)
    late = Examples(new.x[:, 4:], new.y[:, 4:])
    belief = learner.adapt(new.first(4))(late.x)
    interval = belief.interval(0.9)
    assert float(((interval.lower <= late.y) & (late.y <= interval.upper)).double().mean()) == pytest.approx(
        0.9, abs=0.05
    )
    before = learner.adapt(new.first(0))(late.x)
    assert float(belief.log_prob(late.y).mean()) > float(before.log_prob(late.y).mean()) + 0.2
    assert float((belief.mean - late.y).square().mean()) < 0.7 * float((before.mean - late.y).square().mean())


def test_other_people_help(learner: CompartmentModel) -> None:
    """Before it was fitted, the learner knows no drug."""
    new = _people(40, seed=5)
    late = Examples(new.x[:, 4:], new.y[:, 4:])
    unfitted = CompartmentModel().double().adapt(new.first(4))(late.x)
    assert float(unfitted.log_prob(late.y).mean()) < float(learner.adapt(new.first(4))(late.x).log_prob(late.y).mean())


def test_estimates_are_in_the_units_of_the_data() -> None:
    people = _people(12)
    found = CompartmentModel().double().fit(people, steps=250, generator=torch.Generator().manual_seed(0))
    assert found.typical.tolist() == pytest.approx([2.0, 2.0 * 0.1733, 1.0], rel=0.4)
    thousand = Examples(people.x, people.y + torch.tensor(1000.0).double().log())
    other = CompartmentModel().double().fit(thousand, steps=250, generator=torch.Generator().manual_seed(0))
    assert (other.typical[:2] * 1000).tolist() == pytest.approx(found.typical[:2].tolist(), rel=0.1)


def test_a_dose_divides(learner: CompartmentModel) -> None:
    """Hours and dose, and concentrations as they are, say the same as hours, and concentrations over the dose."""
    new, dose = _people(3, seed=5), 7.0
    with_dose = CompartmentModel(2).double()
    with_dose.load_state_dict(learner.state_dict())
    x = torch.cat([new.x, torch.full_like(new.x, dose)], 2)
    shift = torch.tensor(dose).double().log()
    found = with_dose.adapt(Examples(x, new.y + shift).first(4))(x).mean
    torch.testing.assert_close(found, shift + learner.adapt(new.first(4))(new.x).mean)


def test_samples_before_the_dose_show_who_eliminates_slowly() -> None:
    people = _people(12)
    zero = torch.zeros(12, 1, 1).double()
    left = people.y[:, -1:] - 0.5  # what is left of an earlier dose goes along with what will be left of this one
    earlier = Examples(torch.cat([zero, people.x], 1), torch.cat([left, people.y], 1))
    learner = _fit(earlier, carry_over=True)
    last = people.x[:1, -1:]
    found = [
        float(learner.adapt(Examples(zero[:1], torch.full_like(zero[:1], level)))(last).mean)
        for level in (float(left.min()) - 1, float(left.median()), float(left.max()) + 1)
    ]
    assert found[0] < found[1] < found[2]
    plain = _fit(earlier, steps=40)
    torch.testing.assert_close(
        plain.adapt(Examples(zero[:1], left[:1]))(last).mean, plain.adapt(people.select(0).first(0))(last).mean
    )


def test_a_value_below_the_limit_lowers_the_curve(learner: CompartmentModel) -> None:
    new, late = _people(1, seed=5), torch.full((1, 1, 1), 20.0).double()
    limited = CompartmentModel(limit=0.01).double()
    limited.load_state_dict(learner.state_dict())
    start = new.first(3)
    usual = float(limited.adapt(start)(late).mean)
    below = [limited.adapt(start.append(Examples(late, torch.full_like(late, y)))) for y in (-5.0, -50.0)]
    assert float(below[0](late).mean) < usual - 0.01
    torch.testing.assert_close(below[0](late).mean, below[1](late).mean)  # how far below is not known


def test_training_moves_an_unfitted_population(tmp_path: Path) -> None:
    """`qs.fit` on simulated drugs, as on any family."""
    torch.manual_seed(0)
    family = DrugStudies(**KNOWN)  # type: ignore[arg-type]
    learner = CompartmentModel(draws=60, populations=2)
    unseen = family.sample(50, support=4, query=4, generator=torch.Generator().manual_seed(9))
    before = learner.meta_loss(unseen).item()
    qs.fit(learner, family, out=tmp_path / "run", steps=30, tasks=8, support=4, query=4, lr=0.05, validation_tasks=4)
    after = learner.meta_loss(unseen).item()
    assert after < before


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dx": 3}, "dx=3; expected 1 or 2"),
        ({"compartments": 0}, "compartments=0"),
        ({"compartments": 3}, "compartments=3; expected 1 or 2"),
        ({"route": "infusion"}, "route='infusion'; choose one of 'oral', 'bolus'"),
        ({"limit": -1.0}, "limit=-1.0"),
        ({"draws": 2}, "draws=2"),
    ],
)
def test_bad_options(options: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        CompartmentModel(**options)  # type: ignore[arg-type]


def test_messages() -> None:
    people = _people(3)
    early = Examples(-people.x, people.y)
    with pytest.raises(ValueError, match=r"0 people have samples after the dose \(hours above 0\)"):
        CompartmentModel().fit(early)
    with pytest.raises(ValueError, match=r"built with dx=2, dy=1 and expects \[T, N, 2\]"):
        CompartmentModel(2).adapt(people.to(dtype=torch.float32))
    with pytest.warns(RuntimeWarning, match=r"have not settled .* more steps= than 4"):
        CompartmentModel().double().fit(people, steps=4, generator=torch.Generator().manual_seed(0))
