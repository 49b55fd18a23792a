"""A pool of threads: every number right, and whatever is torch's own as it was before."""

import contextlib
import copy
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch._dynamo  # which puts a wrapper around torch.manual_seed when it is first imported
from inner.crashes import oracle
from inner.crashes.oracle import (
    ENGINES,
    adapted_modules,
    assert_close,
    batch,
    learned,
    meta,
    mlp,
    squared,
    with_gradients,
)
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import quickstudy as qs

WORKERS, JOBS = 4, 12


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)


@pytest.fixture(autouse=True)
def torch_as_before():
    """Functions by identity, flags by value; and threads change places often."""
    functions, flags, interval = torch_functions(), torch_flags(), sys.getswitchinterval()
    filters = list(warnings.filters)
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)
    changed = [k for k, f in torch_functions().items() if f is not functions[k]]
    warnings.filters[:] = filters
    for name in changed:
        place, _, attribute = name.rpartition(".")
        setattr({"functional": F, "torch": torch, "special": torch._C._nn}[place], attribute, functions[name])
    now = torch_flags()
    torch.backends.cuda.enable_flash_sdp(flags["flash"])
    torch.backends.cuda.enable_mem_efficient_sdp(flags["efficient"])
    torch.backends.cuda.enable_math_sdp(flags["math"])
    torch.backends.cuda.enable_cudnn_sdp(flags["cudnn"])
    torch.backends.mha.set_fastpath_enabled(flags["fast path"])
    assert not changed
    assert now == flags


def torch_functions():
    names = ("linear", "conv1d", "conv2d", "conv3d", "embedding", "batch_norm", "layer_norm", "bilinear")
    names += ("scaled_dot_product_attention", "multi_head_attention_forward", "dropout", "group_norm")
    found = {f"functional.{k}": getattr(F, k) for k in names}
    found |= {f"torch.{k}": getattr(torch, k) for k in ("conv2d", "matmul", "addmm", "get_rng_state", "manual_seed")}
    return found | {f"special.{k}": getattr(torch._C._nn, k) for k in ("linear", "scaled_dot_product_attention")}


def torch_flags():
    return {
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),
        "math": torch.backends.cuda.math_sdp_enabled(),
        "cudnn": torch.backends.cuda.cudnn_sdp_enabled(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "anomaly": torch.is_anomaly_enabled(),
        "modes": torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack(),
    }


def expected(network, tasks):
    """As the oracle says, by torch's mathematical attention: the fused kernels have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        return oracle.expected(network, tasks)


def in_threads(jobs):
    """The results of the jobs, in order; they begin together."""
    gate = threading.Barrier(min(WORKERS, len(jobs)), timeout=20)

    def run(job):
        with contextlib.suppress(threading.BrokenBarrierError):
            gate.wait(0.5)
        return job()

    with warnings.catch_warnings():  # once, around all: it is no thread's own
        warnings.simplefilter("ignore")
        with ThreadPoolExecutor(WORKERS) as pool:
            return [future.result(60) for future in [pool.submit(run, job) for job in jobs]]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.mix, self.last = nn.MultiheadAttention(2, 1, batch_first=True), nn.Linear(2, 1)

    def forward(self, x):
        h = torch.stack([x, x.sin(), x.cos()], 1)
        return self.last(self.mix(h, h, h, need_weights=False)[0].mean(1))


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Conv1d(1, 2, 2, padding=1), nn.Linear(6, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x[:, None])).flatten(1))


class ReadsANumber(nn.Module):
    """Not to be vectorised."""

    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, x):
        return self.body(x / x.norm().item())


KINDS = {
    "layers": mlp,
    "layer norm": lambda: mlp(nn.LayerNorm(3)),
    "attention": Attention,
    "convolution": Convolution,
    "number": ReadsANumber,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def engines(kind):
    return ("loop", "auto") if kind == "number" else ENGINES


@every_kind
def test_learners_of_their_own(kind):
    """Every job another engine, other tasks, another network."""
    jobs, wanted = [], []
    for j in range(JOBS):
        engine = engines(kind)[j % len(engines(kind))]
        network, tasks = KINDS[kind](), batch(seed=j)
        wanted.append(expected(network, tasks))
        jobs.append(lambda n=network, t=tasks, e=engine: meta(qs.MAML(n, lr=0.1, steps=2, engine=e), t))
    for found, right in zip(in_threads(jobs), wanted, strict=True):
        assert_close(found, right)


@pytest.mark.parametrize("engine", ENGINES)
@every_kind
def test_one_learner_shared(engine, kind):
    """Its first use is in the pool: plans are made there, side by side, for layouts that are alike and unlike."""
    if engine not in engines(kind):
        return
    network = KINDS[kind]()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    given = [batch(seed=j, support=3 + j % 3) for j in range(JOBS)]
    wanted = [expected(network, tasks) for tasks in given]
    found = in_threads([lambda t=tasks: meta(learner, t) for tasks in given])
    for f, w in zip(found, wanted, strict=True):
        assert_close(f, w)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_network_under_many_learners(engine):
    network = mlp(nn.LayerNorm(3))
    given = [batch(seed=j) for j in range(JOBS)]
    wanted = [expected(network, tasks) for tasks in given]
    make = lambda: qs.MAML(network, lr=0.1, steps=2, engine=engine)  # noqa: E731
    for f, w in zip(in_threads([lambda t=tasks: meta(make(), t) for tasks in given]), wanted, strict=True):
        assert_close(f, w)
    assert all(isinstance(p, nn.Parameter) for p in network.parameters())


@pytest.mark.parametrize("engine", ENGINES)
@every_kind
def test_adapting(engine, kind):
    """`adapt`, the predictor, `append`, one task's module."""
    if engine not in engines(kind):
        return
    network = KINDS[kind]()
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    given = [batch(seed=j) for j in range(JOBS)]

    def job(tasks):
        predict = learner.adapt(tasks.support)
        return [predict(tasks.query.x).mean.detach(), predict.task(1)(tasks.query.x[1]).detach()]

    found = in_threads([lambda t=tasks: job(t) for tasks in given])
    for tasks, (means, alone) in zip(given, found, strict=True):
        modules = adapted_modules(network, tasks.support)
        wanted = torch.stack([m(x) for m, x in zip(modules, tasks.query.x, strict=True)]).detach()
        assert_close([means, alone], [wanted, wanted[1]])


OPTIONS = {
    "checkpoints": {"checkpoint": "every"},
    "mixed mode": {"mixed_mode": True},
    "mixed mode, checkpoints": {"mixed_mode": True, "checkpoint": 2},
    "chunks": {"chunk": 1},
    "learned rate": {"rule": None},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
def test_options(engine, option):
    """What runs again on the way back does so in the thread that goes back."""
    network = mlp(nn.LayerNorm(3))
    options = {"lr": 0.1, **OPTIONS[option]}
    if option == "learned rate":
        options = {"rule": qs.optimizers.SGD(nn.Parameter(torch.tensor(0.1)))}
    learner = qs.MAML(network, steps=2, engine=engine, **options)
    given = [batch(seed=j) for j in range(JOBS)]
    wanted = [expected(network, tasks) for tasks in given]
    found = in_threads([lambda t=tasks: meta(learner, t, learned(network)) for tasks in given])
    for f, w in zip(found, wanted, strict=True):
        assert_close(f, w)


@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
def test_the_way_back_in_another_thread(engine):
    """A loss made here, differentiated there."""
    network = mlp()
    given = [batch(seed=j) for j in range(4)]
    wanted = [expected(network, tasks) for tasks in given]
    for options in ({}, {"checkpoint": "every"}, {"mixed_mode": True}):
        learner = qs.MAML(network, lr=0.1, steps=2, engine=engine, **options)
        losses = [learner.meta_loss(tasks) for tasks in given]
        found = in_threads([lambda v=loss: with_gradients(v, learned(network)) for loss in losses])
        for f, w in zip(found, wanted, strict=True):
            assert_close(f, w)


def test_gradients_add_up():
    """`backward` of all jobs into one network, as data-parallel training in threads does."""
    network = mlp()
    learner = qs.MAML(network, lr=0.1, steps=2)
    given = [batch(seed=j) for j in range(JOBS)]
    lock = threading.Lock()

    def job(tasks):
        loss = learner.meta_loss(tasks)
        with lock:
            loss.backward()

    in_threads([lambda t=tasks: job(t) for tasks in given])
    total = [sum(g) for g in zip(*(expected(network, tasks)[1:] for tasks in given), strict=True)]
    assert_close([p.grad for p in network.parameters()], total)


@every_kind
def test_others_in_plain_torch_meanwhile(kind):
    """Whoever calls a layer in another thread gets that layer's answer, with its gradient."""
    learner, tasks = qs.MAML(KINDS[kind](), lr=0.1, steps=2), batch()
    bystander = KINDS[kind]()
    x = torch.randn(5, 2, requires_grad=True)
    right = with_gradients(bystander(x).square().sum(), [x, *bystander.parameters()])
    jobs = [lambda: meta(learner, tasks)] * 4
    jobs += [lambda: with_gradients(bystander(x).square().sum(), [x, *bystander.parameters()])] * 20
    found = in_threads(jobs)
    for f in found[4:]:
        assert_close(f, right)
    for f in found[:4]:
        assert_close(f, expected(learner.network, tasks))


@every_kind
def test_the_network_itself_called_meanwhile(kind):
    """The learner's own network, in another thread, with its own weights: as a server would."""
    network, tasks = KINDS[kind](), batch()
    learner = qs.MAML(network, lr=0.1, steps=2)
    x = torch.randn(5, 2)
    right = copy.deepcopy(network)(x).detach()
    jobs = [lambda: meta(learner, tasks)] * 4 + [lambda: network(x).detach()] * 30
    for f in in_threads(jobs)[4:]:
        torch.testing.assert_close(f, right, rtol=1e-12, atol=1e-12)


def test_an_error_in_one_thread_is_its_own():
    """A network that fails, beside others that do not."""

    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp()

        def forward(self, x):
            self.body(x)
            raise KeyError("no such thing")

    network, tasks = mlp(), batch()
    wanted = expected(network, tasks)

    def fail():
        with pytest.raises(KeyError, match="no such thing"):
            qs.MAML(Fails(), lr=0.1).meta_loss(tasks)

    jobs = [fail, lambda: meta(qs.MAML(network, lr=0.1, steps=2), tasks)] * 6
    for f in in_threads(jobs)[1::2]:
        assert_close(f, wanted)


def test_bare_loops_with_objectives_and_batches():
    """`inner_loop` with data that ask the networks as they stand."""
    network = mlp()
    loop = qs.inner_loop(network, objective=squared, lr=0.1, steps=2)
    given = [batch(seed=j) for j in range(JOBS)]

    def job(tasks):
        def data(step, adapted):
            adapted(tasks.query.x)
            return tasks.support

        adapted = loop(batch=data, num_tasks=2)
        return with_gradients(adapted.evaluate(squared, tasks.query).mean(), learned(network))

    found = in_threads([lambda t=tasks: job(t) for tasks in given])
    for tasks, f in zip(given, found, strict=True):
        assert_close(f, expected(network, tasks))


@pytest.mark.parametrize("engine", ["loop", "auto", "batched"])
def test_random_numbers_stay_where_they_were(engine):
    """Networks that draw none leave torch's generator alone, however threads take turns while trying."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    given = [batch(seed=j, support=3 + j % 4) for j in range(JOBS)]
    network = mlp()
    torch.manual_seed(5)
    learner = qs.MAML(network, lr=0.1, steps=2, engine=engine)
    in_threads([lambda t=tasks: meta(learner, t) for tasks in given])
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_switched_off_in_one_thread_alone():
    network, tasks = mlp(), batch()
    wanted = expected(network, tasks)
    learner = qs.MAML(network, lr=0.1, steps=2)

    def off():
        with torch.no_grad():
            return [learner.meta_loss(tasks)]

    def inference():
        with torch.inference_mode():
            return [learner.meta_loss(tasks).clone()]

    found = in_threads([off, inference, lambda: meta(learner, tasks)] * 5)
    for i, f in enumerate(found):
        assert_close([t.detach().clone() for t in f], wanted if i % 3 == 2 else wanted[:1])
