"""Tools for one's own machine: the sandbox, the bundle check, the demo and notebooks."""
