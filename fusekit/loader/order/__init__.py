"""Which rows a step gives to a rank, as a pure function."""
