"""Network architectures that several problems share."""
