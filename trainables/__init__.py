"""Problems, models and the training loop: one trial, from specification to ledger record."""
