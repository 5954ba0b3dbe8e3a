"""What may not pass in a prompt or an answer: detectors as data, verdicts, and the window that streams are held in."""
