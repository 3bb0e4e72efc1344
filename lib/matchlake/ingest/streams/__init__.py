"""From a Kafka topic to a bronze table, with every offset accounted for."""
