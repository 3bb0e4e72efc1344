"""Saving, loading and serving of fitted models."""
