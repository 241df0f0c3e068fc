"""Replays transcripts of a real API server against the double, and says where they differ."""
