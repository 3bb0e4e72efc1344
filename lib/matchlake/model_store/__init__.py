"""Saves, loads and serves fitted models."""
