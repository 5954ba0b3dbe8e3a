"""An LLM gateway that is generated from its contract."""
