"""A value function in units of its targets."""

import torch

from quickstudy.rl.recurrent.critic import Critic


def test_a_change_of_scale_keeps_the_values() -> None:
    torch.manual_seed(0)
    for hidden in ([], [4]):
        critic, features = Critic(8, hidden), torch.randn(2, 3, 8)
        before = critic(features)
        for values in (torch.tensor([100.0, 300.0]), torch.tensor([5.0, 5.0])):
            critic.rescale(values)
            torch.testing.assert_close(critic(features), before, rtol=1e-4, atol=1e-4)
        critic.rescale(torch.tensor([100.0, 300.0]))
        assert float(critic.center) == 200 and float(critic.spread) == 100
