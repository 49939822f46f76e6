"""Methods whose memory adapts."""
