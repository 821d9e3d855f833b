"""Readers: each turns one raw layout into items."""
