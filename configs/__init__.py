"""Ready configurations, as YAML files."""
