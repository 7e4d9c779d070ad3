"""Text recognition: strips (line images of one height) in, texts and scores out."""
