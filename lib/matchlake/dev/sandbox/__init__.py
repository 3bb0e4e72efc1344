"""A laptop's stand-ins for the platform: a real Kafka broker, the warehouse folder, data sets."""
