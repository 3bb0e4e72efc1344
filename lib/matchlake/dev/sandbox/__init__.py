"""Local stand-ins for the platform: a real Kafka broker, Key Vault, workspace, data sets."""
