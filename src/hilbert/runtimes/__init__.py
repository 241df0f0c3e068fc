"""What starts one replica on this machine, behind the port `Runtime`; a folder for each way.

What belongs here: starting, isolating, watching and ending replicas, and what they write.
What does not: promises and reconciling (`hilbert.providers.host`).
"""
