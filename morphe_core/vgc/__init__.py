"""The Visual-enhanced Generative Codec of the paper's section 4: pictures to units and back."""
