"""From image files of the lake to embeddings, by an ONNX model."""
