"""Text recognition: crops (line images of one height) in, texts and scores out."""
