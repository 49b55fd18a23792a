"""A value network as baseline, which is trained further at every fit."""

import copy
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.checks import check_positive, check_whole
from quickstudy.learner import check_generator
from quickstudy.rl.episodes import Episodes
from quickstudy.rl.estimation.baseline import Value
from quickstudy.runs.optimizer_state import load_optimizer


@final
class NetworkBaseline(nn.Module):
    """A value network shared by all tasks. Every fit trains it further, from its present weights:

        V = argmin mean (V(s) - R)^2,     by Adam

    It is a part of the learner, `Judge(baseline=NetworkBaseline(...))`, and of its checkpoints, with the state of Adam.
    Meta-training trains it by its own optimiser only. In eval mode, as in evaluations, a fit trains a copy.

    Args:
        network: any module from `[N, *do]` to `[N, 1]`.
        lr: learning rate of Adam.
        epochs: passes over the transitions at each fit.
        batch_size: transitions in a step of Adam.
        generator: random numbers for shuffling; None takes torch's own. A run does not store generators: load a
            learner that has one by `quickstudy.load(run, learner=learner)`.

    Raises:
        ValueError: for counts and rates out of range; from `fit`, for episodes without a transition, or outputs of
            another shape.

    >>> import quickstudy as qs
    >>> baseline = NetworkBaseline(qs.nets.MLP(2, [32], 1), lr=1e-2, epochs=1)
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        lr: float = 1e-3,
        epochs: int = 10,
        batch_size: int = 256,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        check_generator(generator)
        self.network, self.generator, self.lr = network, generator, check_positive("lr", lr)
        self.epochs, self.batch_size = check_whole("epochs", epochs), check_whole("batch_size", batch_size)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=lr)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"network": self.network, "lr": self.lr, "epochs": self.epochs, "batch_size": self.batch_size}
        return own if self.generator is None else own | {"generator": self.generator}

    def get_extra_state(self) -> dict[str, Any]:
        """The state of Adam and of the generator, which checkpoints hold beside the network's weights."""
        generator = None if self.generator is None else self.generator.get_state()
        return {"optimizer": self.optimizer.state_dict(), "generator": generator}

    def set_extra_state(self, state: Any) -> None:
        """Restore what `get_extra_state` returned. Raises ValueError for anything else."""
        if not isinstance(state, dict) or set(state) != {"optimizer", "generator"}:
            raise ValueError("it is not the state of a NetworkBaseline")
        load_optimizer(self.optimizer, state["optimizer"])
        if (state["generator"] is None) != (self.generator is None):
            raise ValueError("generator= was given only there or only here; build the baseline as it was then")
        if self.generator is not None:
            self.generator.set_state(state["generator"])

    def fit(self, episodes: Episodes, returns: Float[Tensor, "T E H"]) -> Value:
        """The network, after `epochs` passes over these transitions; in eval mode a copy is trained in its place."""
        if not self.training:
            return copy.deepcopy(self).train().fit(episodes, returns)
        x, y = episodes.observation[episodes.mask].detach(), returns[episodes.mask].detach()
        if not len(y):
            raise ValueError("the episodes hold no transition to fit a baseline to; roll out at least one")
        self._move()
        with torch.enable_grad():
            for _ in range(self.epochs):
                order = torch.randperm(len(y), generator=self.generator).to(y.device)
                for index in order.split(self.batch_size):
                    loss = (self._at(x[index]) - y[index]).square().mean()
                    self.optimizer.zero_grad()
                    loss.backward()
                    self.optimizer.step()
        self.optimizer.zero_grad()
        return self.value

    def _move(self) -> None:
        """Move Adam's moments to where the weights are now: `module.to` does not know them."""
        for parameter, moments in self.optimizer.state.items():
            for name, value in moments.items():
                if name != "step" and isinstance(value, Tensor):
                    moments[name] = value.to(parameter)

    @torch.no_grad()
    def value(self, observation: Tensor, time: Tensor) -> Tensor:
        """The network's values `[T, E, H]`; `time` is not used."""
        return self._at(observation.flatten(0, time.dim() - 1)).reshape(time.shape)

    def _at(self, x: Tensor) -> Tensor:
        value = self.network(x)
        if value.shape != (len(x), 1):
            raise ValueError(f"the value network gave {list(value.shape)} for {len(x)} observations; expected [N, 1]")
        return value.squeeze(1)
