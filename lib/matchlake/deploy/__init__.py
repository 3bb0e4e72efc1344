"""Deployment files from conf (Kubernetes, Azure, IoT Edge, Data Factory), and their checks."""
