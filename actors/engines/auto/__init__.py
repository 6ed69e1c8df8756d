"""RapidOCR, and Tesseract for the scripts it does not cover."""
