"""Meta-reinforcement learning: environments, policies and learners.

Importing this package registers its environments in gymnasium.
"""

from quickstudy.rl.actor import Actor as Actor
from quickstudy.rl.environment import Environment as Environment
from quickstudy.rl.environment import EnvironmentTasks as EnvironmentTasks
from quickstudy.rl.environment import Simulator as Simulator
from quickstudy.rl.environment import Step as Step
from quickstudy.rl.envs.bandits.bernoulli import Bandit as Bandit
from quickstudy.rl.envs.bandits.gaussian import GaussianBandit as GaussianBandit
from quickstudy.rl.envs.bridges.metaworld import from_metaworld as from_metaworld
from quickstudy.rl.envs.bridges.metaworld_agent import MetaWorldAgent as MetaWorldAgent
from quickstudy.rl.envs.cartpole import CartPole as CartPole
from quickstudy.rl.envs.failure import EnvironmentFailure as EnvironmentFailure
from quickstudy.rl.envs.filmed import Filmed as Filmed
from quickstudy.rl.envs.from_gymnasium import from_gymnasium as from_gymnasium
from quickstudy.rl.envs.gridnavi import GridNavi as GridNavi
from quickstudy.rl.envs.informed import Informed as Informed
from quickstudy.rl.envs.locomotion.ant import Ant as Ant
from quickstudy.rl.envs.locomotion.half_cheetah import HalfCheetah as HalfCheetah
from quickstudy.rl.envs.locomotion.hopper import Hopper as Hopper
from quickstudy.rl.envs.locomotion.humanoid import Humanoid as Humanoid
from quickstudy.rl.envs.locomotion.walker2d import Walker2d as Walker2d
from quickstudy.rl.envs.navigation2d import Navigation2D as Navigation2D
from quickstudy.rl.envs.register import register as _register
from quickstudy.rl.envs.single import SingleEnv as SingleEnv
from quickstudy.rl.envs.swing_up.cartpole import CartPoleSwingUp as CartPoleSwingUp
from quickstudy.rl.envs.swing_up.pendulum import Pendulum as Pendulum
from quickstudy.rl.envs.tabular_mdp import TabularMDP as TabularMDP
from quickstudy.rl.envs.vector import VectorEnv as VectorEnv
from quickstudy.rl.episodes import Episodes as Episodes
from quickstudy.rl.estimation.judge import Judge as Judge
from quickstudy.rl.estimation.linear_baseline import LinearBaseline as LinearBaseline
from quickstudy.rl.estimation.network_baseline import NetworkBaseline as NetworkBaseline
from quickstudy.rl.evaluate import evaluate as evaluate
from quickstudy.rl.evaluate import returns_by_step as returns_by_step
from quickstudy.rl.fit import fit as fit
from quickstudy.rl.latent.pearl import PEARL as PEARL
from quickstudy.rl.latent.varibad import VariBAD as VariBAD
from quickstudy.rl.maml_trpo import MAMLTRPO as MAMLTRPO
from quickstudy.rl.maml_vpg import MAMLVPG as MAMLVPG
from quickstudy.rl.normalising import NormalizedObservations as NormalizedObservations
from quickstudy.rl.normalising import RewardScale as RewardScale
from quickstudy.rl.policies.multi_discrete import MultiDiscretePolicy as MultiDiscretePolicy
from quickstudy.rl.policies.squashed_gaussian import SquashedGaussianPolicy as SquashedGaussianPolicy
from quickstudy.rl.policy import CategoricalPolicy as CategoricalPolicy
from quickstudy.rl.policy import GaussianPolicy as GaussianPolicy
from quickstudy.rl.promp import ProMP as ProMP
from quickstudy.rl.recurrent.rl2 import RL2 as RL2
from quickstudy.rl.rollout import rollout as rollout

_register()
