"""Distributions of columns, their changes between table versions, and their plots."""
