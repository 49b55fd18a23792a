"""Networks that `load` can rebuild from a run folder, and layers for few-shot learning.

Learners take any other `torch.nn.Module` as well, as long as it maps `[N, *dx]` to `[N, dy]`.
"""

from quickstudy.nets.conv4 import Conv4 as Conv4
from quickstudy.nets.meta_batch_norm import MetaBatchNorm as MetaBatchNorm
from quickstudy.nets.mlp import ACTIVATIONS as ACTIVATIONS
from quickstudy.nets.mlp import MLP as MLP
from quickstudy.nets.normalisation import replace_batch_norm as replace_batch_norm
from quickstudy.nets.step_norm import StepNorm as StepNorm
from quickstudy.nets.task_norm import TaskNorm as TaskNorm
from quickstudy.nets.warped_mlp import WarpedMLP as WarpedMLP
from quickstudy.nets.with_context import WithContext as WithContext
