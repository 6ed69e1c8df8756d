"""Documents in, page images out: PDFs by PyMuPDF, images by Pillow."""
