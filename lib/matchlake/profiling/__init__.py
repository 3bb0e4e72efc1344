"""Distributions of columns, and how they change between table versions."""
