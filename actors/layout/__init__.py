"""From lines of text with boxes to a page in reading order, as Markdown. No pixels, no models."""
