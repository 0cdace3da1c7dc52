"""Studies: from a YAML file to a results folder, resumable, on Ray.

Importing this package is cheap: Ray, torch and Optuna load when a study runs.
"""

from __future__ import annotations
