"""A version as MLflow loads it. A copy of this package, `perennial_served`, lies beside each."""
