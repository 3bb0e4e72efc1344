"""Learners: train the models other than recommenders.

Each learner returns a head, and does not read tables.
"""
