"""Manifest files, one module a format: rows streamed in the memory of one batch."""
