"""Ingestion: from Kafka records and lake files to bronze, and from bronze to silver."""
