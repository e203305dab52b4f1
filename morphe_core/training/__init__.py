"""Training of the codec and of super resolution (paper, sections 4.2, 5, 7 and appendix A.2)."""
