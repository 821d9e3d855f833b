"""The store: its layout, commits, manifests and SQL."""
