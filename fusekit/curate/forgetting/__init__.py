"""The steps of an erasure: find, note, overwrite, blank, prove."""
