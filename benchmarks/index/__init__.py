"""An index in PostgreSQL that follows an alias: recall, kills, speed, and bridges."""
