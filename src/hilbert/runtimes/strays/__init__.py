"""What installations that were killed have left on this machine: found, and removed."""
