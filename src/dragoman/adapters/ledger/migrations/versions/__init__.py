"""The migrations, each named by its revision; they are never changed once they have been released."""
