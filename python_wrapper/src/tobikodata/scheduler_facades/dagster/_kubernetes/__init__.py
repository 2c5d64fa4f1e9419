"""Runs the executable in a pod (extra `[k8s]`)."""
