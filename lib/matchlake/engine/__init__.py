"""Kernels that know no model: top-k, linear algebra, random numbers, packing."""
