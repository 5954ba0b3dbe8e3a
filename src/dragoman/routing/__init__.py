"""From an alias to one of its targets: choice, retry, fallback, and who is left alone for a while."""
