"""The search of a method: who proposes, what is optimised, what stops early, what is chosen."""
