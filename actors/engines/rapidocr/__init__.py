"""The embedded engine: PP-OCR by ONNX Runtime, on the CPU, its models in the wheel."""
