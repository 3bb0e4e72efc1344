"""Encoders and scalers: declared once, fitted by one query, run on Spark, in SQL and NumPy."""
