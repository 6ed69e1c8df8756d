"""Model presets as data files, and how a model is matched with one."""
