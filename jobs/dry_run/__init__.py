"""What a job would do, without doing it."""
