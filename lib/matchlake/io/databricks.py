"""Whether this process runs on Databricks."""

import os


def on_databricks() -> bool:
    """Whether this is the Python of a Databricks cluster or of serverless compute."""
    return "DATABRICKS_RUNTIME_VERSION" in os.environ
