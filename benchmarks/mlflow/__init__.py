"""An alias in a real MLflow, moved at random by MLflow's own client while a guard runs."""
