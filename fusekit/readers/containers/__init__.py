"""Raw data in container files: tars of samples, Parquet, LMDB, TFRecord."""
