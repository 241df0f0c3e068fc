"""How commands are declared, found, run, completed and helped, and how they fail."""
