"""The `morphe` command: the codec by itself."""
