"""Stage one: videos -> a store of features, on one device, on several, or on a cluster."""
