"""The results folder: ledger, tables, manifest, disk, mirror, and how a study stands."""
