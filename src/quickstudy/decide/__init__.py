"""Control: agents that plan with or learn in a learned model, and model-free baselines."""

from quickstudy.decide.actor_critic import ActorCritic as ActorCritic
from quickstudy.decide.actor_critic import shared_start as shared_start
from quickstudy.decide.control import Adapting as Adapting
from quickstudy.decide.control import Control as Control
from quickstudy.decide.control import Knowledge as Knowledge
from quickstudy.decide.control import Known as Known
from quickstudy.decide.dqn import DQN as DQN
from quickstudy.decide.encoding import Encoding as Encoding
from quickstudy.decide.ensemble import Ensemble as Ensemble
from quickstudy.decide.experienced import Experienced as Experienced
from quickstudy.decide.living import Agent as Agent
from quickstudy.decide.living import Life as Life
from quickstudy.decide.living import live as live
from quickstudy.decide.models import Fixed as Fixed
from quickstudy.decide.models import Learned as Learned
from quickstudy.decide.models import Simulated as Simulated
from quickstudy.decide.moment import Moment as Moment
from quickstudy.decide.objective import Balance as Balance
from quickstudy.decide.objective import LearnedReturn as LearnedReturn
from quickstudy.decide.planning import GaussianPlanner as GaussianPlanner
from quickstudy.decide.planning import Planner as Planner
from quickstudy.decide.planning import cross_entropy as cross_entropy
from quickstudy.decide.planning import mppi as mppi
from quickstudy.decide.ppo import PPO as PPO
from quickstudy.decide.reinforce import Reinforce as Reinforce
from quickstudy.decide.transitions import Transitions as Transitions
