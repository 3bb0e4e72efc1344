"""The Databricks bundle, held to what the platform accepts, and run from its YAML on a laptop."""
