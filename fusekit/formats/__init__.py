"""Container formats, byte for byte: canonical tar shards, RecordIO packs."""
