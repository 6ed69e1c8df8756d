"""The only importer of Ray: replicas, renderers and the writer as actors, and their replacement."""
