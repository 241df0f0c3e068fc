"""What starts one replica on this machine, behind the port `Runtime` (`host`); a folder for each way, and `replica` for what they share.

What belongs here: starting, isolating, watching and ending replicas, and what they write.
What does not: promises and reconciling (`hilbert.providers.host`).
"""
