"""What is known of models before one is loaded: presets and weights."""
