"""The loader: a mixture in, exact and resumable batches out."""
