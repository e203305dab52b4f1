"""The live view: a session's pictures and curves in a browser, and the same picture as a file."""
