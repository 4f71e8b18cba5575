"""What a study says: schema, runs, checks, paths; without torch."""
