"""Networks that runs can be rebuilt from, and layers for few-shot learning. Any other `torch.nn.Module` serves as well:
learners ask nothing of it but a map `[N, *dx] -> [N, dy]`."""

from quickstudy.nets.mlp import ACTIVATIONS as ACTIVATIONS
from quickstudy.nets.mlp import MLP as MLP
from quickstudy.nets.step_norm import StepNorm as StepNorm
from quickstudy.nets.warped_mlp import WarpedMLP as WarpedMLP
from quickstudy.nets.with_context import WithContext as WithContext
