"""Engines: where units of work run. They never decide what the work gives."""
