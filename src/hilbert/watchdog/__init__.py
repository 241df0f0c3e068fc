"""HTTP in front of one function: what runs inside every replica of the process runtime, and inside images built here.

What belongs here: the function's process or handler, its calls, its log lines, its timeouts. Configured by environment
variables alone, as OpenFaaS's watchdogs are. What does not: anything that knows of other functions.

Start-up time is paid at every cold start, so modules here import late and little: no msgspec, no structlog, and asyncio
only for a handler that needs it.
"""
