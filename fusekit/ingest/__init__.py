"""Ingest: raw data in, a finished dataset of the store out."""
