"""The local platform: a real Kafka broker, emulators of Key Vault and Databricks, data sets."""
