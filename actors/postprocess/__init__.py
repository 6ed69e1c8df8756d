"""From an engine's answer to what a row says: pure, by the dialect in which the model writes."""
