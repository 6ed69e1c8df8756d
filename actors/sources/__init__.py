"""Documents as local files, wherever they are."""
