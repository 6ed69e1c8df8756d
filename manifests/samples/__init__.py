"""A small corpus with known text, and the code that draws it and any number of fresh pages."""
