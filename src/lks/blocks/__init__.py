"""Knowledge blocks: how they are made, trained, kept and put in."""
