"""What a person asks of a store: what is there, and is it sound."""
