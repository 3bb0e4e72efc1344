"""The HTTP endpoint, the online store and the resident stream; without pyspark, mlflow, pandas."""
