"""Solutions for two task gradients, in plain numbers.

Beside a step's products, arrays of two numbers cost far more than the numbers: every function that
they call has left the processor's caches. Each function gives up, with nothing, where rounding or
the range of numbers tells; the solver for any number of tasks takes over then.
"""

from mtl_methods.solvers._two_tasks.alpha_fair import AlphaFairPair, alpha_fair_between_two
from mtl_methods.solvers._two_tasks.cagrad import CAGradPair, cagrad_between_two
from mtl_methods.solvers._two_tasks.cone_projection import project_between_two
from mtl_methods.solvers._two_tasks.min_norm import MinNormPair, hull_of_two, nearest_between_two

__all__ = [
    "AlphaFairPair",
    "CAGradPair",
    "MinNormPair",
    "alpha_fair_between_two",
    "cagrad_between_two",
    "hull_of_two",
    "nearest_between_two",
    "project_between_two",
]
