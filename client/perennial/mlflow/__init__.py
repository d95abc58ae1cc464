"""Models in an MLflow registry: a mirror of their versions, and a guard of an alias."""
