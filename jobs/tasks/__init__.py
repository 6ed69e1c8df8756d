"""What a job can do besides reading a corpus: one answer about images."""
