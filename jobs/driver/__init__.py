"""The loop that keeps a fleet fed, its queues, and what it decides about faults."""
