"""Networks that runs can be rebuilt from, and layers for few-shot learning. Any other `torch.nn.Module` serves as well:
learners ask nothing of it but a map `[N, *dx] -> [N, dy]`."""

from quickstudy.nets.conv4 import Conv4 as Conv4
from quickstudy.nets.meta_batch_norm import MetaBatchNorm as MetaBatchNorm
from quickstudy.nets.mlp import ACTIVATIONS as ACTIVATIONS
from quickstudy.nets.mlp import MLP as MLP
from quickstudy.nets.normalisation import replace_batch_norm as replace_batch_norm
from quickstudy.nets.step_norm import StepNorm as StepNorm
from quickstudy.nets.task_norm import TaskNorm as TaskNorm
from quickstudy.nets.warped_mlp import WarpedMLP as WarpedMLP
from quickstudy.nets.with_context import WithContext as WithContext
