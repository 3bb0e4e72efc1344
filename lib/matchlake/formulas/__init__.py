"""Formulas of features as expression trees, and their renderers for SQL and NumPy."""
