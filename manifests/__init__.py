"""What comes in: manifest rows, inputs, documents, pages, units."""
