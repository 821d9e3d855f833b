"""The model registry: where weights come from and what input each model expects."""
