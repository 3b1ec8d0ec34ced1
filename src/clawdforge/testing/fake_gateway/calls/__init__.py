"""What the fake answers to each call of the contract, one module for what belongs together."""
