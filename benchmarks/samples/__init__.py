"""Draws pages with known text from a seed: words, typesetting, paper."""
