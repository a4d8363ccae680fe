"""PyTorch or ONNX in, Relay out."""
