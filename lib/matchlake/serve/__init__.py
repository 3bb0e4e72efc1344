"""The HTTP server, the online store and the stream process.

Imports no pyspark, mlflow or pandas.
"""
