"""quickstudy: meta-learning in PyTorch. A learner turns a support set into a predictor."""

from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from quickstudy._version import __version__ as __version__

if TYPE_CHECKING:
    from quickstudy import decide as decide
    from quickstudy import likelihoods as likelihoods
    from quickstudy import nets as nets
    from quickstudy import report as report
    from quickstudy import rl as rl
    from quickstudy import tasks as tasks
    from quickstudy import testing as testing
    from quickstudy.data import Examples as Examples
    from quickstudy.data import Tasks as Tasks
    from quickstudy.estimators.group_classifier import GroupClassifier as GroupClassifier
    from quickstudy.estimators.group_regressor import GroupRegressor as GroupRegressor
    from quickstudy.evaluation.evaluate import evaluate as evaluate
    from quickstudy.evaluation.tuning import tune_adaptation as tune_adaptation
    from quickstudy.gradient.anil import ANIL as ANIL
    from quickstudy.gradient.bayesian_maml import BayesianMAML as BayesianMAML
    from quickstudy.gradient.boil import BOIL as BOIL
    from quickstudy.gradient.cavia import CAVIA as CAVIA
    from quickstudy.gradient.fomaml import FOMAML as FOMAML
    from quickstudy.gradient.imaml import iMAML as iMAML
    from quickstudy.gradient.maml import MAML as MAML
    from quickstudy.gradient.maml_plus_plus import MAMLPlusPlus as MAMLPlusPlus
    from quickstudy.gradient.meta_curvature import Curvature as Curvature
    from quickstudy.gradient.meta_curvature import MetaCurvature as MetaCurvature
    from quickstudy.gradient.meta_sgd import MetaSGD as MetaSGD
    from quickstudy.gradient.pretrained import Pretrained as Pretrained
    from quickstudy.gradient.reptile import Reptile as Reptile
    from quickstudy.gradient.warp_grad import WarpGrad as WarpGrad
    from quickstudy.inner import optimizers as optimizers
    from quickstudy.inner.fast.implicit import Implicit as Implicit
    from quickstudy.inner.loop import inner_loop as inner_loop
    from quickstudy.metric import bases as bases
    from quickstudy.metric.alpaca import ALPaCA as ALPaCA
    from quickstudy.metric.compartments.compartment_model import CompartmentModel as CompartmentModel
    from quickstudy.metric.deep_mean_gp import DeepMeanGP as DeepMeanGP
    from quickstudy.metric.generalized.generalized_mixed_model import GeneralizedMixedModel as GeneralizedMixedModel
    from quickstudy.metric.mean_and_gp.mean_and_gp import MeanAndGP as MeanAndGP
    from quickstudy.metric.mixed.mixed_model import MixedModel as MixedModel
    from quickstudy.nets.step_norm import StepNorm as StepNorm
    from quickstudy.processes import heads as heads
    from quickstudy.processes.attentive_cnp import AttentiveCNP as AttentiveCNP
    from quickstudy.processes.attentive_np import AttentiveNP as AttentiveNP
    from quickstudy.processes.bootstrapping_np import BootstrappingANP as BootstrappingANP
    from quickstudy.processes.bootstrapping_np import BootstrappingNP as BootstrappingNP
    from quickstudy.processes.cnp import CNP as CNP
    from quickstudy.processes.conv_cnp import ConvCNP as ConvCNP
    from quickstudy.processes.conv_np import ConvNP as ConvNP
    from quickstudy.processes.flow_np import FlowNP as FlowNP
    from quickstudy.processes.grid_conv_cnp import GridConvCNP as GridConvCNP
    from quickstudy.processes.inc_tnp import IncTNP as IncTNP
    from quickstudy.processes.lbanp import LBANP as LBANP
    from quickstudy.processes.neural_process import NeuralProcess as NeuralProcess
    from quickstudy.processes.relative_cnp import RelativeCNP as RelativeCNP
    from quickstudy.processes.te_tnp import TETNP as TETNP
    from quickstudy.processes.tnp import TNP as TNP
    from quickstudy.processes.tnp_a import TNPA as TNPA
    from quickstudy.processes.tnp_nd import TNPND as TNPND
    from quickstudy.runs.storage import load as load
    from quickstudy.runs.storage import save as save
    from quickstudy.training.fit import fit as fit

_HOME = {  # where each public name lives; it is imported, and torch with it, at the first use
    "ALPaCA": "quickstudy.metric.alpaca",
    "ANIL": "quickstudy.gradient.anil",
    "AttentiveCNP": "quickstudy.processes.attentive_cnp",
    "AttentiveNP": "quickstudy.processes.attentive_np",
    "BOIL": "quickstudy.gradient.boil",
    "BayesianMAML": "quickstudy.gradient.bayesian_maml",
    "BootstrappingANP": "quickstudy.processes.bootstrapping_np",
    "BootstrappingNP": "quickstudy.processes.bootstrapping_np",
    "CAVIA": "quickstudy.gradient.cavia",
    "CNP": "quickstudy.processes.cnp",
    "CompartmentModel": "quickstudy.metric.compartments.compartment_model",
    "ConvCNP": "quickstudy.processes.conv_cnp",
    "ConvNP": "quickstudy.processes.conv_np",
    "Curvature": "quickstudy.gradient.meta_curvature",
    "DeepMeanGP": "quickstudy.metric.deep_mean_gp",
    "Examples": "quickstudy.data",
    "FOMAML": "quickstudy.gradient.fomaml",
    "GeneralizedMixedModel": "quickstudy.metric.generalized.generalized_mixed_model",
    "GroupClassifier": "quickstudy.estimators.group_classifier",
    "GroupRegressor": "quickstudy.estimators.group_regressor",
    "GridConvCNP": "quickstudy.processes.grid_conv_cnp",
    "FlowNP": "quickstudy.processes.flow_np",
    "Implicit": "quickstudy.inner.fast.implicit",
    "IncTNP": "quickstudy.processes.inc_tnp",
    "LBANP": "quickstudy.processes.lbanp",
    "MAML": "quickstudy.gradient.maml",
    "MAMLPlusPlus": "quickstudy.gradient.maml_plus_plus",
    "MeanAndGP": "quickstudy.metric.mean_and_gp.mean_and_gp",
    "MetaCurvature": "quickstudy.gradient.meta_curvature",
    "MetaSGD": "quickstudy.gradient.meta_sgd",
    "MixedModel": "quickstudy.metric.mixed.mixed_model",
    "NeuralProcess": "quickstudy.processes.neural_process",
    "Pretrained": "quickstudy.gradient.pretrained",
    "RelativeCNP": "quickstudy.processes.relative_cnp",
    "Reptile": "quickstudy.gradient.reptile",
    "StepNorm": "quickstudy.nets.step_norm",
    "TETNP": "quickstudy.processes.te_tnp",
    "TNP": "quickstudy.processes.tnp",
    "TNPA": "quickstudy.processes.tnp_a",
    "TNPND": "quickstudy.processes.tnp_nd",
    "Tasks": "quickstudy.data",
    "WarpGrad": "quickstudy.gradient.warp_grad",
    "bases": "quickstudy.metric.bases",
    "decide": "quickstudy.decide",
    "evaluate": "quickstudy.evaluation.evaluate",
    "fit": "quickstudy.training.fit",
    "heads": "quickstudy.processes.heads",
    "iMAML": "quickstudy.gradient.imaml",
    "inner_loop": "quickstudy.inner.loop",
    "likelihoods": "quickstudy.likelihoods",
    "load": "quickstudy.runs.storage",
    "nets": "quickstudy.nets",
    "optimizers": "quickstudy.inner.optimizers",
    "report": "quickstudy.report",
    "rl": "quickstudy.rl",
    "save": "quickstudy.runs.storage",
    "tasks": "quickstudy.tasks",
    "testing": "quickstudy.testing",
    "tune_adaptation": "quickstudy.evaluation.tuning",
}

_MODULES = ("bases", "decide", "heads", "likelihoods", "nets", "optimizers", "report", "rl", "tasks", "testing")

# Without scikit-learn these raise an error that names the extra. `from quickstudy import *`, `help` and `dir`, which
# nobody types to get them, leave them out.
_OPTIONAL = () if find_spec("sklearn") else ("GroupClassifier", "GroupRegressor")

__all__ = [name for name in _HOME if name not in _OPTIONAL]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        near = get_close_matches(name, _HOME, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(__all__)}"
        raise AttributeError(f"module 'quickstudy' has no attribute {name!r}{hint}")
    home = _HOME[name]
    module = import_module(home)
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
