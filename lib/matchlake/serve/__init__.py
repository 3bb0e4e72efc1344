"""The HTTP endpoint: one process with NumPy and onnxruntime; no Spark, pandas or MLflow."""
