"""Who is told of events: a module for each kind of receiver."""
