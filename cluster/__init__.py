"""The fleet: workers on Ray, or in one process. The only importer of Ray."""
