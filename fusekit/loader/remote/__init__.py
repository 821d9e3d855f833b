"""Shards of an object store, fetched ahead of the plan."""
