"""Work spread over processes: one for each device of this machine, or those of a Ray cluster."""
