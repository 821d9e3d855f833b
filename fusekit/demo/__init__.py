"""The demo: the main job end to end on photographs that packages ship."""
