"""What the embedded engine and Tesseract need besides a model: pixels made upright, lines, scripts."""
