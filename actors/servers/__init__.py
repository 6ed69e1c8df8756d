"""Asking model servers over HTTP: which of several, how many requests at once, and what a failure means."""
