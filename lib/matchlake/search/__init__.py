"""Hyperparameter search over any trainer: spaces, trials, a journal, and plots."""
