"""Evaluation: what a model reaches on the protocols that the store holds."""
