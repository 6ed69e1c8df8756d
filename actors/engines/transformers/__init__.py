"""Models by Transformers, in this process and in batches."""
