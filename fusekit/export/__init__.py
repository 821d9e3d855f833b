"""Mixtures and evaluation sets in the formats that other trainers read."""
