"""Makes the adapters in this folder importable from the tests below it."""
