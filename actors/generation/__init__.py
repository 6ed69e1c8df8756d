"""What generating engines share, and what each of them needs beside its engine module."""
