"""What there is to read, and how its bytes get to this machine: listing, manifests, archives, selection, fetching."""
