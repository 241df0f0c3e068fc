"""The composition root: the supervisor and the control process.

The only place that names concrete adapters; it starts and stops them in order.
"""
