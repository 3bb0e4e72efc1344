"""Learners: training of models beside the recommender. Each returns a head; none knows a table."""
