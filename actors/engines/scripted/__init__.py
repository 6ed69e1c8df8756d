"""An engine that makes its answers up, for tests and benchmarks."""
