"""Views of the loader for other trainers' loops."""
