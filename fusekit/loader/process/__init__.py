"""The pipeline in a process of its own."""
