"""A run from start to report: preflight, progress, messages, being asked to stop."""
