"""The codec by itself: any video in, `.morphe` and playable files out, quality against rate."""
