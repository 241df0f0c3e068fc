"""Container images on this machine: pulled, checked, unpacked and kept, without a daemon. Runtimes run them."""
