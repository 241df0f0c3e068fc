"""Speaking to the API server: requests, watches, errors, leadership, and what is read of objects."""
