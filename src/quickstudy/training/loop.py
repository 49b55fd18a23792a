"""The training loop. Interruptions do not change its results."""

import math
from pathlib import Path

import torch
from torch import Tensor

from quickstudy.chance import Stream, mix, seed_noise
from quickstudy.checks import check_tasks
from quickstudy.compiling.compiled import Gradient
from quickstudy.data import Tasks
from quickstudy.evaluation.intervals import over_tasks
from quickstudy.learner import allows_missing
from quickstudy.parallel.shares import Shared
from quickstudy.runs.run import BEST, LAST
from quickstudy.runs.signals import Signals
from quickstudy.runs.standing import Standing
from quickstudy.training.batches import Batches
from quickstudy.training.gradients import VERIFY_EVERY, verify_again
from quickstudy.training.plan import Plan
from quickstudy.training.recorder import Recorder
from quickstudy.training.session import Session
from quickstudy.training.updates import Updates
from quickstudy.training.validation import Validation


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient became NaN or infinite. `checkpoint` is the last good one, None for a run in memory."""

    def __init__(self, message: str, *, step: int, seed: int, checkpoint: Path | None):
        super().__init__(message)
        self.step, self.seed, self.checkpoint = step, seed, checkpoint


class Loop:
    """Trains from a given state to the end.

    Args:
        session: the learner in training mode, the processes that train it, and the place for checkpoints.
        plan: steps, intervals and patience.
        standing: the state of training to start from.
        recorder: receives the metrics; None in all processes but the first.
        batches: function step -> tasks.
        gradient: function tasks -> (loss, gradients).
        updates: applies the gradients.
        validation: returns the validation loss.
    """

    def __init__(
        self,
        session: Session,
        plan: Plan,
        standing: Standing,
        recorder: Recorder | None,
        *,
        batches: Batches,
        gradient: Gradient,
        updates: Updates,
        validation: Validation,
    ):
        self._session, self._plan, self.standing, self._recorder = session, plan, standing, recorder
        self._batches, self._gradient, self._updates, self._validation = batches, gradient, updates, validation
        self._learner, self._world = session.learner, session.world
        self._anneal = getattr(session.learner, "anneal", None)
        self._observe = getattr(session.learner, "observe", None)
        self._device = updates.params[0].device
        # on an accelerator the sum stays there: reading every loss would make the CPU wait for it
        self._waits = self._device.type == "cpu"
        self._sum: float | Tensor = standing.loss_sum
        if not self._waits:
            self._sum = torch.tensor(standing.loss_sum, dtype=torch.float64, device=self._device)

    def run(self) -> None:
        """Train to the end.

        Raises:
            NonFiniteLossError: if the loss or its gradient is not finite.
            KeyboardInterrupt, SystemExit: after saving, on SIGINT, SIGTERM and SIGHUP.
            OSError: if a checkpoint or the metrics cannot be written.
            LostProcessError: if another process of the training has died.
        """
        at, plan, asked = self.standing, self._plan, self._world.asked
        with Signals() as signals:
            self._world.listen(signals)
            if at.step == 0:
                self._save(LAST)
            while not at.finished and asked() is None:
                self._step()
                ends = at.step >= plan.steps
                evaluates = ends or at.step % plan.evaluate_every == 0
                if evaluates or at.step % plan.log_every == 0:
                    self._measure(evaluates)
                if ends or at.stopped_early:
                    self._finish()
                if at.finished or asked() is not None or at.step % plan.checkpoint_every == 0:
                    self._save(LAST)
            self._world.agree_to_leave()
        signals.leave()

    def _step(self) -> None:
        at = self.standing
        seed_noise(mix(self._plan.seed, at.step, Stream.NOISE), self._device)
        tasks = self._draw(at.step)
        if self._anneal is not None:
            self._anneal(1.0 if self._session.from_step else at.step / self._plan.steps)
        if self._observe is not None:
            self._observe(tasks)
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
            if isinstance(self._gradient, Shared):  # other processes are waiting for this one
                self._gradient.fail(error)
            raise

    def _measure(self, evaluates: bool) -> None:
        """Write a line of metrics; with `evaluates`, validate, and save the weights if they are the best so far."""
        at = self.standing
        values = {"loss": self._read_sum() / at.loss_count, "lr": self._updates.lr}
        improved = False
        if evaluates:
            loss = values["validation_loss"] = self._validation()
            improved = math.isfinite(loss) and (at.best_loss is None or loss < at.best_loss)
            at.waited = 0 if improved else at.waited + 1
            at.stopped_early = self._plan.patience is not None and at.waited >= self._plan.patience
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
        self._session.save(name, self.standing, self._recorder)

    def _read_sum(self) -> float:
        total = float(self._sum)
        if not math.isfinite(total):
            raise self._not_finite(self.standing.step - 1, total, None)
        return total

    def _not_finite(self, step: int, value: float, tasks: Tasks | None) -> NonFiniteLossError:
        at, seed = self.standing, self._plan.seed
        where = f"at step {step}" if tasks is not None else f"in the {at.loss_count} steps before step {step + 1}"
        what = f"the loss became {value}" if not math.isfinite(value) else "the gradient became NaN or infinite"
        cause = "try a smaller lr or clip=1.0"
        if tasks is not None:
            try:
                check_tasks(tasks, missing=allows_missing(self._learner))
            except ValueError as error:
                cause = f"the batch itself is bad: {error}"
        return NonFiniteLossError(
            f"{what} {where} (seed {seed}); {self._session.what_is_left()}; {cause}",
            step=step,
            seed=seed,
            checkpoint=self._session.last,
        )
