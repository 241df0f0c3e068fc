"""What the cluster says, kept in memory and put into words. Nothing here writes."""
