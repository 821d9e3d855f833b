"""The peers belong to another environment: nothing of theirs is imported for its doctests."""

collect_ignore = ["peers"]
