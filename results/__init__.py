"""What goes out and how it is committed: rows, the store, claims, unit files, the writer, assembly."""
