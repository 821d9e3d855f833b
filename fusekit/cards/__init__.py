"""Cards: what each dataset is and how it lies on disk."""
