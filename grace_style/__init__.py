"""A neural P-frame codec in the manner of GRACE, written from its published description.

GRACE (Cheng et al., NSDI 2024) codes each picture against the last reconstruction as latents of
motion and residual, trained under loss, and spreads the latents' elements over packets that decode
one by one. Its code and weights may not be passed on, so nothing here comes from them: this is our
own network, entropy coding and packet format, named `grace-style` wherever it appears. Decision
13 (docs/decisions) says what is as published and what is ours.
"""
