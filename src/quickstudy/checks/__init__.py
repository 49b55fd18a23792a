"""Argument checks. Each raises an error of one line: what was given, what was expected, and what to do."""

from quickstudy.checks.arguments import check_choice as check_choice
from quickstudy.checks.arguments import check_made as check_made
from quickstudy.checks.arguments import check_network as check_network
from quickstudy.checks.arguments import check_number as check_number
from quickstudy.checks.arguments import check_positive as check_positive
from quickstudy.checks.arguments import check_switch as check_switch
from quickstudy.checks.arguments import check_unit as check_unit
from quickstudy.checks.arguments import check_whole as check_whole
from quickstudy.checks.arguments import describe as describe
from quickstudy.checks.arguments import shown as shown
from quickstudy.checks.data import HasParameters as HasParameters
from quickstudy.checks.data import check_examples as check_examples
from quickstudy.checks.data import check_finite as check_finite
from quickstudy.checks.data import check_fits as check_fits
from quickstudy.checks.data import check_inputs as check_inputs
from quickstudy.checks.data import check_layout as check_layout
from quickstudy.checks.data import check_losses as check_losses
from quickstudy.checks.data import check_more as check_more
from quickstudy.checks.data import check_query as check_query
from quickstudy.checks.data import check_tasks as check_tasks
from quickstudy.tracing import values_are_readable as values_are_readable
