"""The Databricks bundle: an offline check, and local runs of its jobs from their YAML."""
