"""The transformer: causal, the same in pieces as at once, and blind to padding."""

import pytest
import torch

import quickstudy as qs
from quickstudy.rl.recurrent.memory import MemoryNetwork
from quickstudy.rl.recurrent.transformer import CausalTransformer


def _network() -> CausalTransformer:
    torch.manual_seed(0)
    return CausalTransformer(3, 16, layers=3, heads=2).double()


def test_pieces_are_the_whole() -> None:
    network, inputs = _network(), torch.randn(4, 7, 3, dtype=torch.float64)
    whole, last = network(inputs, network.start(4).unsqueeze(0))
    state, found = network.start(4).unsqueeze(0), []
    for piece in inputs.split([1, 3, 1, 2], 1):
        outputs, state = network(piece, state)
        found.append(outputs)
    torch.testing.assert_close(torch.cat(found, 1), whole)
    torch.testing.assert_close(state, last)


def test_an_output_depends_on_earlier_inputs_alone() -> None:
    network, inputs = _network(), torch.randn(1, 6, 3, dtype=torch.float64, requires_grad=True)
    outputs, _ = network(inputs, network.start(1).unsqueeze(0))
    for step in range(6):
        (slope,) = torch.autograd.grad(outputs[0, step].square().sum(), inputs, retain_graph=True)
        reached = slope[0].abs().amax(1) > 0
        assert reached.tolist() == [earlier <= step for earlier in range(6)]


def test_attention_is_that_of_a_plain_loop() -> None:
    """One layer, one head, one stream: a softmax over the steps so far, by hand."""
    torch.manual_seed(0)
    network = CausalTransformer(3, 4, layers=1, heads=1).double()
    inputs = torch.randn(1, 5, 3, dtype=torch.float64)
    block = network.blocks[0]
    angle = torch.arange(5.0, dtype=torch.float64)[:, None] * torch.tensor([1.0, 1e-2], dtype=torch.float64)
    x = network.embed(inputs[0]) + torch.cat([angle.sin(), angle.cos()], 1)
    query, key, value = block.read(block.before(x)).chunk(3, 1)
    seen = torch.stack(
        [((query[h] @ key[: h + 1].T) / 2).softmax(0) @ value[: h + 1] for h in range(5)]  # the root of width 4 is 2
    )
    x = x + block.out(seen)
    expected = network.norm(x + block.each(block.after(x)))
    torch.testing.assert_close(network(inputs, network.start(1).unsqueeze(0))[0][0], expected)


def test_padding_is_not_read() -> None:
    """Streams that ended early remember only their real steps, and go on from them."""
    env = qs.rl.CartPole(masspole=5.0, num_envs=4, horizon=40)
    env.set_tasks(env.sample_tasks(2, generator=torch.Generator().manual_seed(0)))
    made = qs.rl.RL2.of(env, width=8, kind="transformer")
    episodes = made.actor().rollout(env, generator=torch.Generator().manual_seed(1))
    lengths = episodes.mask.sum(2).flatten()
    assert len(lengths.unique()) > 1
    actor, seen = made.actor().adapt(episodes), torch.randn(2, 4, 4)
    memory: MemoryNetwork = made.memory
    for row in range(8):
        task, place = divmod(row, 4)
        plain = memory.initial(1)
        for h in range(int(lengths[row])):
            _, plain = memory.step(episodes.observation[task, place, h][None], torch.tensor([h == 0]), plain)
            plain = memory.told(plain, episodes.action[task, place, h][None], episodes.reward[task, place, h][None])
        output, _ = memory.step(seen[task, place][None], torch.tensor([True]), plain)
        torch.testing.assert_close(made.policy(output)[0], actor(seen)[task, place])


def test_a_saved_actor_remembers(tmp_path) -> None:
    env = qs.rl.Bandit(arms=3, num_envs=2, horizon=5)
    env.set_tasks(env.sample_tasks(4))
    made = qs.rl.RL2.of(env, width=8, kind="transformer")
    actor = made.actor()
    actor = actor.adapt(actor.rollout(env))
    qs.save(actor, tmp_path / "actor")
    back, ones = qs.load(tmp_path / "actor"), torch.ones(4, 2, 1)
    assert back.network.config()["kind"] == "transformer"
    torch.testing.assert_close(back(ones), actor(ones))
    assert not torch.allclose(back(ones), made.actor()(ones))


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="width=12 with heads=4; expected a multiple of 8"):
        MemoryNetwork(observations=1, actions=2, width=12, kind="transformer")
    with pytest.raises(ValueError, match="kind='lstm'"):
        MemoryNetwork(observations=1, actions=2, kind="lstm")  # type: ignore[arg-type]
