"""Which script a page is written in, and which engine and language cover it."""
