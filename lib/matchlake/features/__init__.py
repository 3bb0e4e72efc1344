"""Encoders and scalers: declared once, fitted in one Spark job, run on Spark, in SQL and NumPy."""
