"""Actions with several discrete components."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from quickstudy.checks import check_whole
from quickstudy.rl.policies.categories import categorical_entropy, categorical_kl, categorical_log_prob
from quickstudy.rl.policies.drawing import gumbel_noise


@final
class MultiDiscretePolicy(nn.Module):
    """Actions of gymnasium's MultiDiscrete spaces: `d` components, the i-th one of 0, 1, ... choices[i] - 1.

    Given the observation, the components are independent: log p(a) = sum_i log p_i(a_i). The outputs of the network,
    `[..., sum(choices)]`, are the logits of the first component, then those of the second, and so on.

    Args:
        network: any module from `[N, *do]` to `[N, sum(choices)]`.
        choices: the number of choices of each component: `action_space.nvec` of the environment.

    Raises:
        ValueError: for no components, and a number of choices that is not a whole number of at least 1; from a call,
            for a network whose outputs have another width.

    >>> import quickstudy as qs
    >>> policy = MultiDiscretePolicy(qs.nets.MLP(4, [64, 64], 5, activation="tanh"), [3, 2])
    >>> outputs = policy(torch.zeros(7, 4))
    >>> policy.sample(outputs).shape, policy.entropy(torch.zeros(5)).exp().round()
    (torch.Size([7, 2]), tensor(6.))
    """

    def __init__(self, network: nn.Module, choices: Sequence[int] | Any):
        super().__init__()
        self.network, self.choices = network, [check_whole("choices", number) for number in choices]
        if not self.choices:
            raise ValueError("choices is empty; give the number of choices of each component of an action")

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"network": self.network, "choices": list(self.choices)}

    def forward(self, observation: Tensor, **inputs: Tensor) -> Tensor:
        """Logits `[N, sum(choices)]`."""
        logits: Tensor = self.network(observation, **inputs)
        if logits.shape[-1] != sum(self.choices):
            raise ValueError(
                f"the policy's network gave {list(logits.shape)} for components with {self.choices} choices; its last "
                f"layer must have {sum(self.choices)} outputs"
            )
        return logits

    def noise(self, outputs: Tensor, *, steps: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Gumbel draws `[steps, ..., sum(choices)]`: each argmax of logits + noise is a draw of its component."""
        return gumbel_noise(outputs, steps, generator)

    def act(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """The actions `[..., d]`, argmax(logits + noise) in each component."""
        return self.mode(outputs + noise)

    def sample(self, outputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Actions `[..., d]`, integers."""
        return self.act(outputs, self.noise(outputs, generator=generator)[0])

    def mode(self, outputs: Tensor) -> Tensor:
        """The most probable action, `[..., d]`."""
        return torch.stack([logits.argmax(-1) for logits in self._each(outputs)], -1)

    def log_prob(self, outputs: Tensor, action: Tensor) -> Tensor:
        """The log-probability `[...]` of the actions, integers `[..., d]`."""
        parts = zip(self._each(outputs), action.unbind(-1), strict=True)
        return torch.stack([categorical_log_prob(*part) for part in parts]).sum(0)

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new), `[...]`, the sum over components."""
        parts = zip(self._each(old), self._each(new), strict=True)
        return torch.stack([categorical_kl(*part) for part in parts]).sum(0)

    def entropy(self, outputs: Tensor) -> Tensor:
        """The entropy `[...]`, in nats, the sum over components."""
        return torch.stack([categorical_entropy(logits) for logits in self._each(outputs)]).sum(0)

    def _each(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """The logits of each component."""
        return outputs.split(self.choices, -1)
