"""From source to function: templates, bundles, and container images through the builder that is there.

What belongs here: finding and pulling templates, laying out a build, dependencies, the image store's writing side,
driving container builders, watching files. What does not: the terminal (`hilbert.cli`), and running functions.
Everything here blocks; whoever wants several builds at once gives each a thread.
"""
