"""Tesseract, where it is installed."""
