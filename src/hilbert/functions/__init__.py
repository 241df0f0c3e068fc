"""The functions that ship with Hilbert: one bundle a folder, and the catalogue that lists them (`store.json`).

What belongs here: small functions under the image names of OpenFaaS's store, so that they run with no registry. Each folder is
a bundle (`hilbert.core.bundle`), read by the runtime and run by the watchdog; nothing imports from here.
"""
