"""Exact solvers on the K x K Gram matrix of the task gradients, in float64."""
