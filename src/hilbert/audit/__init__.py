"""What was changed and what was refused, written down before the answer goes out, in a chain that shows when it was tampered with.

`record` is what is written, `chain` how lines hang together, `log` the files, `reading` and `verify` what reads them,
`thinning` the bound on what strangers can fill, and `webhook` whoever is told.
"""
