"""PyMuPDF, quiet and without the layout models it would load along.

Nothing here asks for those models, and they cost every process that renders 90 MB, three threads and
0.7 s (PyMuPDF 2.0; it does without them where they are not installed).
"""

import sys

_EXTRAS = ("pymupdf.layout", "pymupdf4llm")
_hidden = [name for name in _EXTRAS if name not in sys.modules]
for name in _hidden:
    sys.modules[name] = None  # type: ignore[assignment]  # importing it raises ImportError
try:
    import pymupdf
    from pymupdf import mupdf
finally:
    for name in _hidden:
        del sys.modules[name]

# MuPDF prints to stdout unless told otherwise; what it says is read per page with mupdf_warnings().
pymupdf.set_messages(pylogging=True)
pymupdf.TOOLS.mupdf_display_errors(False)
pymupdf.TOOLS.mupdf_display_warnings(False)

__all__ = ["mupdf", "pymupdf"]
