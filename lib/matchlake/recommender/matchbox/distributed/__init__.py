"""The Matchbox fit spread over the tasks of a cluster."""
