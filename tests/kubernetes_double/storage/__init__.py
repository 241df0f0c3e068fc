"""What is kept: versions, events, deletion, and the engine that writes."""
