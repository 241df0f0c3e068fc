"""What the platform writes into the cluster, and keeps as it wrote it."""
