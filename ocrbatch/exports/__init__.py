"""Pages as other programs and people want them."""
