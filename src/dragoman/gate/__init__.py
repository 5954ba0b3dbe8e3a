"""Who may pass, and what may be sent: each function is one step of the pipeline."""
