"""Feature and recommender jobs for Spark and Databricks, over Delta tables."""

__version__ = "0.1.0"
