"""What every method is built from: the contract, gradients, writing, composition."""
