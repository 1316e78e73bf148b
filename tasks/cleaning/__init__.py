"""What a store and its runs in MLflow have, what of it is needed, and the removal of the rest."""
