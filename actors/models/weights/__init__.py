"""Model folders: whether they are whole, and what memory they want."""
