"""Mixtures: a recipe and manifests in, numbered labels and an index out."""
