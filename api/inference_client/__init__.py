"""Questions to the inference process: who asks, what, where, and how much at a time."""
