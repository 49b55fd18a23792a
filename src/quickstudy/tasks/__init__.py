"""Task families, one in each file."""

from quickstudy.tasks.classification import Classification as Classification
from quickstudy.tasks.dataset import from_dataset as from_dataset
from quickstudy.tasks.exact_gp import ExactGP as ExactGP
from quickstudy.tasks.fitted_gp import fit_gp as fit_gp
from quickstudy.tasks.gaussian_process import GaussianProcess as GaussianProcess
from quickstudy.tasks.harmonic import Harmonic as Harmonic
from quickstudy.tasks.informed import Informed as Informed
from quickstudy.tasks.pendulum import Pendulum as Pendulum
from quickstudy.tasks.pharmacokinetics import Pharmacokinetics as Pharmacokinetics
from quickstudy.tasks.point_sets import PointSets as PointSets
from quickstudy.tasks.sawtooth import Sawtooth as Sawtooth
from quickstudy.tasks.sine_and_line import SineAndLine as SineAndLine
from quickstudy.tasks.sinusoid import Sinusoid as Sinusoid
from quickstudy.tasks.steps import Steps as Steps
from quickstudy.tasks.table import Table as Table
