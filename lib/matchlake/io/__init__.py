"""Clients of the outside world: Kafka, storage, Delta tables, secrets, MLflow."""
