"""An output checked by code of its own: nothing here is shared with what wrote it."""
