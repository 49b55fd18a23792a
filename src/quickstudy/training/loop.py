"""The training loop: step, measure, save; the same whether or not it was ever interrupted."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.chance import Stream, mix, seed_noise
from quickstudy.checks import check_tasks
from quickstudy.compiling.compiled import Gradient
from quickstudy.data import Tasks
from quickstudy.evaluation.intervals import over_tasks
from quickstudy.parallel.distributed import World
from quickstudy.parallel.shares import Shared
from quickstudy.runs.checkpoint import write_checkpoint
from quickstudy.runs.run import BEST, LAST
from quickstudy.runs.signals import Signals
from quickstudy.runs.standing import Standing
from quickstudy.training.batches import Batches
from quickstudy.training.gradients import VERIFY_EVERY, verify_again
from quickstudy.training.recorder import Recorder
from quickstudy.training.updates import Updates
from quickstudy.training.validation import Validation


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient became NaN or infinite; `step`, `seed` and `checkpoint` say where and what is left."""

    def __init__(self, message: str, *, step: int, seed: int, checkpoint: Path):
        super().__init__(message)
        self.step, self.seed, self.checkpoint = step, seed, checkpoint


class Loop:
    """Trains from a standing to the end.

    Args:
        learner: to be trained, in training mode.
        gradient: tasks -> (loss, gradients).
        batches: step -> tasks.
        updates: applies the gradients.
        validation: the loss on held-out tasks.
        recorder: takes the metrics; None in all processes but the first.
        standing: where to begin.
        folder: the run.
        world: the processes that train together.
        steps: of the whole run.
        log_every, evaluate_every, checkpoint_every: in steps.
        patience: evaluations without improvement before stopping; None never stops.
        facts: what every checkpoint says besides its standing.
    """

    def __init__(
        self,
        learner: nn.Module,
        *,
        gradient: Gradient,
        batches: Batches,
        updates: Updates,
        validation: Validation,
        recorder: Recorder | None,
        standing: Standing,
        folder: Path,
        world: World,
        steps: int,
        log_every: int,
        evaluate_every: int,
        checkpoint_every: int,
        patience: int | None,
        facts: dict[str, Any],
    ):
        self._learner, self._gradient, self._batches, self._updates = learner, gradient, batches, updates
        self._validation, self._recorder, self._folder, self._facts = validation, recorder, folder, facts
        self._world = world
        self._steps, self._patience = steps, patience
        self._log_every, self._evaluate_every, self._checkpoint_every = log_every, evaluate_every, checkpoint_every
        self.standing = standing
        self._anneal = getattr(learner, "anneal", None)
        self._device = updates.params[0].device
        # on an accelerator the sum stays there: reading every loss would make the processor wait for it
        self._waits = self._device.type == "cpu"
        self._sum: float | Tensor = standing.loss_sum
        if not self._waits:
            self._sum = torch.tensor(standing.loss_sum, dtype=torch.float64, device=self._device)

    def run(self) -> None:
        """Train to the end.

        Raises:
            NonFiniteLossError: if the loss or its gradient is not finite.
            KeyboardInterrupt, SystemExit: after saving, on SIGINT and SIGTERM.
            OSError: if a checkpoint or the metrics cannot be written.
            LostProcessError: if another process of the training is gone.
        """
        at, asked = self.standing, self._world.asked
        with Signals() as signals:
            self._world.listen(signals)
            if at.step == 0:
                self._save(LAST)
            while not at.finished and asked() is None:
                self._step()
                ends = at.step == self._steps
                evaluates = ends or at.step % self._evaluate_every == 0
                if evaluates or at.step % self._log_every == 0:
                    self._measure(evaluates)
                if ends or at.stopped_early:
                    self._finish()
                if at.finished or asked() is not None or at.step % self._checkpoint_every == 0:
                    self._save(LAST)
            self._world.agree_to_leave()
        signals.leave()

    def _step(self) -> None:
        at = self.standing
        seed_noise(mix(self._batches.seed, at.step, Stream.NOISE), self._device)
        tasks = self._draw(at.step)
        if self._anneal is not None:
            self._anneal(at.step / self._steps)
        if at.step % VERIFY_EVERY == 0:
            verify_again(self._learner)
        loss, gradients = self._gradient(tasks)
        norm = self._updates.norm(gradients)
        if self._waits:
            value = loss.item()
            if not (math.isfinite(value) and math.isfinite(norm.item())):
                raise self._not_finite(at.step, value, tasks)
            self._sum += value
        else:
            self._sum = self._sum + loss.double() + 0 * norm.double()  # NaN if either is not finite
        self._updates.apply(at.step, gradients, norm)
        at.step += 1
        at.loss_count += 1

    def _draw(self, step: int) -> Tasks:
        try:
            return self._batches(step)
        except Exception as error:
            if isinstance(self._gradient, Shared):  # other processes wait for this one's part
                self._gradient.fail(error)
            raise

    def _measure(self, evaluates: bool) -> None:
        """Write a line of metrics; with an evaluation, look whether this is the best learner so far."""
        at = self.standing
        values = {"loss": self._read_sum() / at.loss_count, "lr": self._updates.lr}
        improved = False
        if evaluates:
            loss = values["validation_loss"] = self._validation()
            improved = math.isfinite(loss) and (at.best_loss is None or loss < at.best_loss)
            at.waited = 0 if improved else at.waited + 1
            at.stopped_early = self._patience is not None and at.waited >= self._patience
        self._world.once(lambda: self._record(values))
        self._sum, at.loss_count = self._sum * 0, 0
        if improved:
            at.best_loss, at.best_step = values["validation_loss"], at.step
            self._save(BEST)

    def _finish(self) -> None:
        self.standing.validation = over_tasks(self._validation.each()).to_json()
        self.standing.finished = True

    def _record(self, values: dict[str, float]) -> None:
        assert self._recorder is not None
        self._recorder.record(self.standing.step, values)

    def _save(self, name: Path) -> None:
        self.standing.loss_sum = self._read_sum()
        self._world.once(lambda: self._write(name))

    def _write(self, name: Path) -> None:
        at = self.standing
        assert self._recorder is not None
        at.seconds, at.metrics_bytes = self._recorder.seconds(), self._recorder.flush()
        training = {"optimizer": self._updates.state_dict()}
        write_checkpoint(
            self._folder / name, self._learner.state_dict(), training, {**self._facts, "standing": asdict(at)}
        )

    def _read_sum(self) -> float:
        total = float(self._sum)
        if not math.isfinite(total):
            raise self._not_finite(self.standing.step - 1, total, None)
        return total

    def _not_finite(self, step: int, value: float, tasks: Tasks | None) -> NonFiniteLossError:
        at, seed, last = self.standing, self._batches.seed, self._folder / LAST
        where = f"at step {step}" if tasks is not None else f"in the {at.loss_count} steps before step {step + 1}"
        what = f"the loss became {value}" if not math.isfinite(value) else "the gradient became NaN or infinite"
        cause = "try a smaller lr or clip=1.0"
        if tasks is not None:
            try:
                check_tasks(tasks)
            except ValueError as error:
                cause = f"the batch itself is bad: {error}"
        return NonFiniteLossError(
            f"{what} {where} (seed {seed}); the last good checkpoint is {last}; {cause}",
            step=step,
            seed=seed,
            checkpoint=last,
        )
