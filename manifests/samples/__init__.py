"""A small corpus with known text; ``benchmarks/samples`` draws it, and fresh pages like it."""
