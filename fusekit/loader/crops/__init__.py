"""Stored crops into the pixels of a batch."""
